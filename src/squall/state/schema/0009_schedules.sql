-- Schedules of functions of deployed apps. rule: its JSON. anchor_s: where a period is counted from. seen_s: up to where it is
-- decided what becomes of its instants; floor_s: none up to here comes again. missed, missed_s: how many instants were left out
-- because nobody was there, and the last of them. salt: what keeps the ids of its calls from being guessed.
CREATE TABLE schedules (
    environment TEXT NOT NULL,
    app         TEXT NOT NULL,
    function    TEXT NOT NULL,
    rule        TEXT NOT NULL,
    salt        TEXT NOT NULL,
    anchor_s    REAL NOT NULL,
    seen_s      REAL NOT NULL,
    floor_s     REAL NOT NULL,
    missed      INTEGER NOT NULL,
    missed_s    REAL,
    PRIMARY KEY (environment, app, function)
);

-- The last ticks of each: an instant is called for once. call: the id of its call, known before that is made.
CREATE TABLE ticks (
    environment TEXT NOT NULL,
    app         TEXT NOT NULL,
    function    TEXT NOT NULL,
    at_s        REAL NOT NULL,
    call        TEXT NOT NULL,
    state       TEXT NOT NULL,
    taken_s     REAL NOT NULL,
    why         TEXT NOT NULL,
    PRIMARY KEY (environment, app, function, at_s)
);
