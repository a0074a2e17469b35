-- Volumes. name: empty for an ephemeral one, which ends with its client.
CREATE TABLE volumes (
    id          TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_s   REAL NOT NULL
);
CREATE UNIQUE INDEX volumes_by_name ON volumes (environment, name) WHERE name <> '';

-- A row for each version of each volume; the one of the highest number is the head. made_by: the id of its commit, empty for the
-- first one. manifest: the digest of what it holds.
CREATE TABLE volume_versions (
    volume     TEXT NOT NULL,
    number     INTEGER NOT NULL,
    manifest   TEXT NOT NULL,
    parent     INTEGER NOT NULL,
    made_by    TEXT NOT NULL,
    at_s       REAL NOT NULL,
    who        TEXT NOT NULL,
    why        TEXT NOT NULL,
    entries    INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (volume, number)
);
CREATE UNIQUE INDEX volume_versions_by_commit ON volume_versions (volume, made_by) WHERE made_by <> '';

CREATE TABLE volume_labels (
    volume TEXT NOT NULL,
    label  TEXT NOT NULL,
    number INTEGER NOT NULL,
    at_s   REAL NOT NULL,
    PRIMARY KEY (volume, label)
);
CREATE INDEX volume_labels_by_number ON volume_labels (volume, number);
