-- Dicts and Queues. name: empty for an ephemeral one, which ends with its client.
CREATE TABLE shared_objects (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_s   REAL NOT NULL
);
CREATE UNIQUE INDEX shared_by_name ON shared_objects (kind, environment, name) WHERE name <> '';

-- What a Dict holds, or one partition of a Queue. object: empty for what was cleared, whose rows are still being removed.
-- last_no: the place of the last item that was put. expires_s: when a partition ends; a Dict does not.
CREATE TABLE shared_heaps (
    no         INTEGER PRIMARY KEY,
    object     TEXT NOT NULL,
    part       TEXT NOT NULL,
    entries    INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    last_no    INTEGER NOT NULL,
    expires_s  REAL
);
CREATE UNIQUE INDEX shared_heaps_of ON shared_heaps (object, part) WHERE object <> '';
CREATE INDEX shared_heaps_cleared ON shared_heaps (no) WHERE object = '';
CREATE INDEX shared_heaps_by_end ON shared_heaps (expires_s) WHERE object <> '';

CREATE TABLE dict_entries (
    heap  INTEGER NOT NULL,
    key   BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (heap, key)
);

CREATE TABLE queue_items (
    heap  INTEGER NOT NULL,
    no    INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (heap, no)
);

-- The last change of each lane and its answer, for who sends it again. heap, places: from where it took what the payload holds.
CREATE TABLE shared_lanes (
    lane    TEXT PRIMARY KEY,
    number  INTEGER NOT NULL,
    at_s    REAL NOT NULL,
    count   INTEGER NOT NULL,
    lengths TEXT NOT NULL,
    payload BLOB NOT NULL,
    heap    INTEGER NOT NULL,
    places  TEXT NOT NULL
);
CREATE INDEX shared_lanes_by_age ON shared_lanes (at_s);
