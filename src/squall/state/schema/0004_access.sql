-- digest: of the secret, which is nowhere. used_by: for a token that lets one machine in, the key that it was used with.
CREATE TABLE tokens (
    id        TEXT PRIMARY KEY,
    kind      TEXT NOT NULL,
    name      TEXT NOT NULL,
    scopes    TEXT NOT NULL,
    digest    TEXT NOT NULL,
    created_s REAL NOT NULL,
    expires_s REAL,
    revoked_s REAL,
    used_s    REAL,
    used_by   TEXT NOT NULL
);

CREATE TABLE nodes (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    token     TEXT NOT NULL,
    joined_s  REAL NOT NULL,
    removed_s REAL
);
