"""Volume here: a volume as the container has it that this code runs in, committed and shown anew."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from squall.context import current
from squall.model.errors import VolumeBusy, VolumeNotMounted, VolumeReadOnly
from squall.sdk.lanes import ask

_MOST_NAMED = 10


async def commit_here(volume: str) -> int:
    """The version that has all that was written here. Raises VolumeNotMounted, VolumeReadOnly, VolumeNotCommitted."""
    paths, writable = _paths_of(volume)
    if not writable:
        raise VolumeReadOnly(
            f"the volume at {paths[0]} is mounted for reading alone: nothing of it was changed"
        )
    return int((await ask("volume.here", {"op": "commit", "volume": volume})).head()["version"])


async def reload_here(volume: str) -> int:
    """The newest version, which shows here from now on. Raises VolumeNotMounted, VolumeBusy, VolumeNotCommitted."""
    paths, _ = _paths_of(volume)
    # What is open would go on showing what was there, and lose what is written to it.
    if found := sorted(set(open_below(paths))):
        named = ", ".join(found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")
        raise VolumeBusy(f"the volume cannot be reloaded while files of it are open: {named}")
    return int((await ask("volume.here", {"op": "reload", "volume": volume})).head()["version"])


def _paths_of(volume: str) -> tuple[list[str], bool]:
    here = current.in_container()
    mounts = [] if here is None else [mount for mount in here.volumes if mount[1] == volume]
    if not mounts:
        where = "this program is no container" if here is None else "this container does not mount the volume"
        raise VolumeNotMounted(f"{where}, so there is nothing to commit or reload here")
    return [path for path, _, _ in mounts], any(writable for _, _, writable in mounts)


def open_below(paths: Iterable[str], proc: str = "/proc") -> Iterator[str]:
    """What processes of this container have open at or below `paths`, work in, or have mapped; those that may be looked at."""
    tops = tuple(os.path.realpath(path) for path in paths)
    for process in Path(proc).iterdir():
        if process.name.isdecimal():
            for path in _held_by(process):
                if any(path == top or path.startswith(f"{top}/") for top in tops):
                    yield path


def _held_by(process: Path) -> Iterator[str]:
    try:
        yield os.readlink(process / "cwd")
        for descriptor in os.listdir(process / "fd"):
            yield _target(process / "fd" / descriptor)
        for line in (process / "maps").read_text(errors="replace").splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[5].startswith("/"):
                yield fields[5]
    except OSError:
        return  # It has ended, or is none of ours.


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
