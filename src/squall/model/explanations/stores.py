"""Why errors of stores in buckets happen."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

STORES: Final = {
    "SQ-1914": Explanation(
        why="The keys are wrong, expired or missing, or may not do this in the bucket. A clock that is wrong by minutes and a region that is not the bucket's spoil each signature, which looks the same.",
        example="$ env | cut -d= -f1 | grep AWS_   # which are set, without what they hold\n$ date -u",
    ),
    "SQ-1915": Explanation(
        why="The service answered, and knows no bucket of this name. Buckets are never made by Squall.",
        example="s3://bucket/prefix?endpoint=http://127.0.0.1:8333",
    ),
    "SQ-1916": Explanation(
        why="Nothing listens at the endpoint, its name is not known, or the way there is blocked or broken. It was tried again for as long as the URL's `patience` says. What is in a node's cache is still given.",
        example="$ curl -sS http://127.0.0.1:8333/",
    ),
    "SQ-1917": Explanation(
        why="The service said `SlowDown`, 429 or 503, also when it was asked again after longer and longer pauses.",
        example="s3://bucket/prefix?patience=120   # try for longer",
    ),
    "SQ-1918": Explanation(
        why="A quota of the bucket or the disks of its service are full. Nothing was written; what is there can be read.",
        example="$ weed shell <<< volume.list   # of SeaweedFS: how full its disks are",
    ),
    "SQ-1919": Explanation(
        why="The service answered with an error that has no name of its own here; the message holds its status and words.",
        example="s3://bucket/prefix?endpoint=http://127.0.0.1:8333&region=us-east-1",
    ),
    "SQ-1920": Explanation(
        why="The database server is down or starting, the way there is broken, or it has no room for another connection. Writers and readers waited for it for a minute. Whether the last of what was sent is on record is not known; sent again it changes nothing.",
        example="$ pg_isready -d postgresql://squall@db.example/squall",
    ),
    "SQ-1921": Explanation(
        why="The server answered, and refused: another password, no such user or database, or no right to make tables there.",
        example="$ psql postgresql://squall@db.example/squall -c 'SELECT 1'",
    ),
    "SQ-1922": Explanation(
        why="A server holds the database's advisory lock for as long as it is connected, so that there is one leader. It also fences: a server that was cut off, and finds that another has led meanwhile, never writes again.",
        example="$ psql postgresql://squall@db.example/squall -c 'SELECT who FROM leader'",
    ),
    "SQ-1923": Explanation(
        why="The server answered with an error that has no name of its own here; the message holds its words and SQLSTATE.",
        example="$ squall explain options   # which database is meant, and where its password is looked for",
    ),
    "SQ-1924": Explanation(
        why="Before a backup is put back, it is read through: it must be a whole SQLite database with a schema that this version knows. A new one never replaces a file.",
        example="$ squall restore",
    ),
}
