-- The input that made a call, by its id ("call:index"); empty for one that a client made.
ALTER TABLE calls ADD COLUMN parent TEXT NOT NULL DEFAULT '';
CREATE INDEX calls_of_a_parent ON calls (parent) WHERE parent <> '';

-- The code of an error of ours; empty for what returned or raised.
ALTER TABLE outcomes ADD COLUMN code TEXT NOT NULL DEFAULT '';
CREATE INDEX outcomes_failed ON outcomes (call_no, place) WHERE kind <> 0;

-- Inputs that had an outcome and run again, with the last attempt that does not count any more.
CREATE TABLE tries (
    call_no INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    PRIMARY KEY (call_no, place)
);

-- What a container took of its machine: used memory, and what was kept for it, in bytes times seconds; cores and devices that
-- were kept for it times seconds.
ALTER TABLE containers ADD COLUMN memory_byte_s REAL;
ALTER TABLE containers ADD COLUMN memory_kept_byte_s REAL;
ALTER TABLE containers ADD COLUMN cpu_kept_s REAL;
ALTER TABLE containers ADD COLUMN gpu_s REAL;
ALTER TABLE containers ADD COLUMN gpu_type TEXT NOT NULL DEFAULT '';
CREATE INDEX containers_by_end ON containers (ended_s);

-- For how long the inputs of a call were being run in a container, as one server counted from since_s on.
CREATE TABLE busy (
    container TEXT NOT NULL,
    call      TEXT NOT NULL,
    since_s   REAL NOT NULL,
    busy_s    REAL NOT NULL,
    at_s      REAL NOT NULL,
    PRIMARY KEY (container, call, since_s)
);
CREATE INDEX busy_of_a_call ON busy (call);
CREATE INDEX busy_by_end ON busy (at_s);
