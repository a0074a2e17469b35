CREATE TABLE apps (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    kind      TEXT NOT NULL,
    state     TEXT NOT NULL,
    created_s REAL NOT NULL,
    ended_s   REAL,
    owner     TEXT NOT NULL
);

CREATE TABLE functions (
    id         TEXT PRIMARY KEY,
    app        TEXT NOT NULL,
    name       TEXT NOT NULL,
    definition TEXT NOT NULL
);
CREATE INDEX functions_of_an_app ON functions (app);

-- Calls have a number of their own, so that a million outcomes do not each carry an id of 35 letters.
CREATE TABLE calls (
    no        INTEGER PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    function  TEXT NOT NULL,
    verb      TEXT NOT NULL,
    durable   BOOLEAN NOT NULL,
    inputs    INTEGER,
    done      INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    state     TEXT NOT NULL,
    created_s REAL NOT NULL,
    ended_s   REAL,
    head      TEXT NOT NULL
);
CREATE INDEX calls_open ON calls (no) WHERE durable AND ended_s IS NULL;

-- A row for each chunk of inputs as the client sent it, not for each input. lengths: unsigned 32 bit, little endian.
CREATE TABLE chunks (
    call_no INTEGER NOT NULL,
    start   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    blobs   TEXT,
    heads   TEXT,
    lengths BLOB NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (call_no, start)
);

CREATE INDEX chunks_with_blobs ON chunks (call_no) WHERE blobs IS NOT NULL;

CREATE TABLE outcomes (
    call_no INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind    INTEGER NOT NULL,
    ended_s REAL NOT NULL,
    blob    TEXT,
    head    TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (call_no, place)
) WITHOUT ROWID;

CREATE INDEX outcomes_in_blobs ON outcomes (blob) WHERE blob IS NOT NULL;

CREATE TABLE containers (
    no                INTEGER PRIMARY KEY,
    id                TEXT NOT NULL UNIQUE,
    function          TEXT NOT NULL,
    started_s         REAL NOT NULL,
    ended_s           REAL,
    reason            TEXT NOT NULL,
    peak_memory_bytes INTEGER,
    cpu_s             REAL
);

CREATE TABLE layers (
    key        TEXT PRIMARY KEY,
    recipe     TEXT NOT NULL,
    state      TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    used_s     REAL NOT NULL
);
