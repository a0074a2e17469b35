DROP TABLE budgets;
DROP TABLE usage_days;
ALTER TABLE containers DROP COLUMN labels;
