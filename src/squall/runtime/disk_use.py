"""Disk use: whether what a container has written takes more than it may."""

import os
import stat

# The directories of an overlay that the container's writing fills.
_WRITTEN = ("upper", "work")


def takes_more_than(scratch: str, limit_bytes: int) -> bool:
    """Whether the files below a container's `scratch` take more than `limit_bytes` of disk.

    Stops looking as soon as they do. Files that come or go meanwhile are counted or not; no link is followed.
    """
    used = 0
    waiting = [os.path.join(scratch, name) for name in _WRITTEN]
    while waiting:
        try:
            # A work directory is closed to ordinary users, and holds nothing for long.
            entries = os.scandir(waiting.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    seen = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                used += seen.st_blocks * 512
                if used > limit_bytes:
                    return True
                if stat.S_ISDIR(seen.st_mode):
                    waiting.append(entry.path)
    return False
