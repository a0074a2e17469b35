"""Disk use: whether what a container has written takes more than it may."""

import os
import stat
from collections.abc import Sequence

from squall.runtime.spec import SandboxSpec


def written_below(spec: SandboxSpec) -> tuple[str, ...]:
    """The directories that the container's writing fills: the halves of its overlay, and what lies apart from it."""
    changes = spec.scratch if spec.upper is None else spec.upper
    return f"{changes}/upper", f"{changes}/work", f"{spec.scratch}/unkept"


def takes_more_than(directories: Sequence[str], limit_bytes: int) -> bool:
    """Whether the files in these `directories` take more than `limit_bytes` of disk.

    Stops looking as soon as they do. Files that come or go meanwhile are counted or not; no link is followed.
    """
    used = 0
    waiting = list(directories)
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
