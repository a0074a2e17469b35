"""Room: what a build needs of the disk, and what is said where the disk has no more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from squall.blobs.remove import remove_tree
from squall.model.errors import DiskFull, ImageBuildError

_NEEDED_BYTES: Final = 64 << 20
_FULL: Final = frozenset({28, 122})  # ENOSPC, EDQUOT
_REMEDY: Final = "make room, or point SQUALL_STATE_DIR at a larger disk"


def demand_room(directory: Path, what: str) -> None:
    """Makes a directory that builds write to; what: what happens in it. Raises DiskFull where less than 64 MiB are free there."""
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < _NEEDED_BYTES:
        raise DiskFull(f"only {size_of(free)} are free where {what} ({directory})", remedy=_REMEDY)


def make_cache(cache: Path, uid: int | None) -> None:
    """Makes the cache of packages, which belongs to the ids of build sandboxes; one that other ids filled is of no use to them.

    uid: the id of this machine that id 0 in them is, where we are root.
    """
    cache.mkdir(parents=True, exist_ok=True)
    if uid is not None and cache.stat().st_uid != uid:
        remove_tree(cache)
        cache.mkdir()
        os.chown(cache, uid, uid)


def disk_error(label: str, problem: OSError) -> DiskFull | ImageBuildError:
    """What it means for the step `label` that the disk did not take it."""
    if problem.errno in _FULL:
        return DiskFull(
            f"the disk is full: {label} cannot be kept ({problem.strerror})",
            remedy=_REMEDY,
        )
    return ImageBuildError(f"{label} could not be built: {problem}", step=label)


def size_of(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
