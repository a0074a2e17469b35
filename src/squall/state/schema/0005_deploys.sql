-- A row for each version of each deployed app, whatever became of it. app: the id under which it runs. copy_of: the number of the
-- version that a rollback went back to, or 0. functions: their names as JSON; content: all of it as JSON, kept to go back to.
CREATE TABLE versions (
    app         TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    number      INTEGER NOT NULL,
    state       TEXT NOT NULL,
    created_s   REAL NOT NULL,
    ended_s     REAL,
    strategy    TEXT NOT NULL,
    tag         TEXT NOT NULL,
    who         TEXT NOT NULL,
    copy_of     INTEGER NOT NULL,
    why         TEXT NOT NULL,
    functions   TEXT NOT NULL,
    content     TEXT NOT NULL,
    UNIQUE (environment, name, number)
);

CREATE TABLE environments (
    name      TEXT PRIMARY KEY,
    created_s REAL NOT NULL
);
