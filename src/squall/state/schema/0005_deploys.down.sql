DROP TABLE environments;
DROP TABLE versions;
