"""Why errors of buckets that are mounted in containers happen."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

BUCKET_MOUNTS: Final = {
    "SQ-1960": Explanation(
        why="A bucket is mounted at an absolute path that is a folder of its own, below no other mount. Its name, endpoint, prefix and secret are checked where the function is declared, so that no container has to start to find out.",
        example='@app.function(volumes={"/data": squall.CloudBucketMount("my-bucket", key_prefix="runs/")})\ndef train(): ...',
    ),
    "SQ-1961": Explanation(
        why='A bucket is a file system that a process of the machine serves through /dev/fuse, with the package obstore to speak to the bucket. Where one of both is missing, or a container has no mounts of its own (`level="process"`), there is nothing that could take its place. Roles that are taken on with a token of OpenID Connect are not offered: give keys with `secret=`.',
        example="$ ls -l /dev/fuse && pip install 'squall[s3]'",
    ),
    "SQ-1962": Explanation(
        why="Each bucket in use is served by a process beside the containers, which holds the keys. It ended while it started, or did not answer in time; its log says why.",
        example="$ tail ~/.local/state/squall/logs/buckets.log",
    ),
}
