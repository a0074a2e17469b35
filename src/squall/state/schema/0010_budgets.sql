-- Whose a container was: environment, app, function and tags of the app as JSON; empty for one that nobody has said it of.
ALTER TABLE containers ADD COLUMN labels TEXT NOT NULL DEFAULT '';

-- What containers that have ended took, summed by day (since 1970, UTC), by whose they were and by the type of their GPUs. paid: of
-- each container the larger of what it used and what was kept for it. tags: as JSON, sorted by key.
CREATE TABLE usage_days (
    day                 INTEGER NOT NULL,
    environment         TEXT NOT NULL,
    app                 TEXT NOT NULL,
    function            TEXT NOT NULL,
    tags                TEXT NOT NULL,
    gpu_type            TEXT NOT NULL,
    containers          INTEGER NOT NULL,
    container_s         REAL NOT NULL,
    cpu_s               REAL NOT NULL,
    cpu_kept_s          REAL NOT NULL,
    cpu_paid_s          REAL NOT NULL,
    memory_byte_s       REAL NOT NULL,
    memory_kept_byte_s  REAL NOT NULL,
    memory_paid_byte_s  REAL NOT NULL,
    gpu_s               REAL NOT NULL,
    PRIMARY KEY (day, environment, app, function, tags, gpu_type)
);

-- What is on record already: of whom is not known but by the id of the function, and all of it on the day of its end.
INSERT INTO usage_days (day, environment, app, function, tags, gpu_type, containers, container_s, cpu_s, cpu_kept_s, cpu_paid_s,
    memory_byte_s, memory_kept_byte_s, memory_paid_byte_s, gpu_s)
SELECT day, '', '', function, '', gpu_type, count(*), sum(ended_s - started_s), sum(cpu_s), sum(cpu_kept_s),
    sum(CASE WHEN cpu_s > cpu_kept_s THEN cpu_s ELSE cpu_kept_s END), sum(memory_byte_s), sum(memory_kept_byte_s),
    sum(CASE WHEN memory_byte_s > memory_kept_byte_s THEN memory_byte_s ELSE memory_kept_byte_s END), sum(gpu_s)
FROM (
    SELECT CAST(ended_s AS INTEGER) / 86400 AS day, function, gpu_type, started_s, ended_s, coalesce(cpu_s, 0.0) AS cpu_s,
        coalesce(cpu_kept_s, 0.0) AS cpu_kept_s, coalesce(memory_byte_s, 0.0) AS memory_byte_s,
        coalesce(memory_kept_byte_s, 0.0) AS memory_kept_byte_s, coalesce(gpu_s, 0.0) AS gpu_s
    FROM containers WHERE ended_s IS NOT NULL
) AS ended GROUP BY day, function, gpu_type;

CREATE TABLE budgets (
    environment TEXT NOT NULL,
    app         TEXT NOT NULL,
    tag         TEXT NOT NULL,
    period      TEXT NOT NULL,
    unit        TEXT NOT NULL,
    amount      REAL NOT NULL,
    set_s       REAL NOT NULL,
    PRIMARY KEY (environment, app, tag, period, unit)
);
