-- A row for each time that a name of an image was given, moved or deleted: its last row says what it means. key: empty where it
-- was deleted.
CREATE TABLE namings (
    no   INTEGER PRIMARY KEY,
    id   TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    key  TEXT NOT NULL,
    at_s REAL NOT NULL,
    who  TEXT NOT NULL,
    what TEXT NOT NULL
);
CREATE INDEX namings_of_a_name ON namings (name, no);
