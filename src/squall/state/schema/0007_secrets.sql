-- Versions of secrets, sealed. name: empty for values that came with the app that `app` names, whose keys are the variables;
-- uses: the secrets with a name that such an app uses. sealed: the values, under a key of this row's own; wrapped: that key,
-- under the master key of which `master` is the id, and which is no part of this record.
CREATE TABLE secrets (
    id          TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    number      INTEGER NOT NULL,
    app         TEXT NOT NULL,
    created_s   REAL NOT NULL,
    variables   TEXT NOT NULL,
    uses        TEXT NOT NULL,
    sealed      BLOB NOT NULL,
    wrapped     BLOB NOT NULL,
    master      TEXT NOT NULL
);
CREATE UNIQUE INDEX secrets_by_name ON secrets (environment, name, number) WHERE name <> '';
CREATE INDEX secrets_by_app ON secrets (app) WHERE app <> '';
