DROP TABLE nodes;
DROP TABLE tokens;
