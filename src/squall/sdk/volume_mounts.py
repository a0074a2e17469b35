"""Volume mounts: the volumes that are mounted in this container, and what commits and reloads them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from squall.context import current
from squall.model.errors import VolumeBusy, VolumeReadOnly
from squall.sdk.lanes import ask

_MOST_NAMED = 10


class Mounted:
    """A volume where it is mounted in this container. paths: at which; writable: at some of them."""

    def __init__(self, volume: str, paths: list[str], *, writable: bool) -> None:
        self._volume = volume
        self._paths = paths
        self._writable = writable

    async def commit(self) -> None:
        """Makes what was written here a version of the volume. Raises VolumeReadOnly, VolumeNotCommitted."""
        if not self._writable:
            raise VolumeReadOnly(
                f"the volume at {self._paths[0]} is mounted for reading alone: nothing of it was changed"
            )
        await ask("volume.here", {"op": "commit", "volume": self._volume})

    async def reload(self) -> None:
        """Shows the newest version here. Raises VolumeBusy, VolumeNotCommitted."""
        # What is open would go on showing what was there, and lose what is written to it.
        if found := sorted(set(open_below(self._paths))):
            named = ", ".join(found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")
            raise VolumeBusy(f"the volume cannot be reloaded while files of it are open: {named}")
        await ask("volume.here", {"op": "reload", "volume": self._volume})


def mounted(volume: str) -> Mounted | None:
    """The volume of this id, if it is mounted in this container."""
    here = current.in_container()
    mounts = [] if here is None else [mount for mount in here.volumes if mount[1] == volume]
    if not mounts:
        return None
    paths = [path for path, _, _ in mounts]
    return Mounted(volume, paths, writable=any(writable for _, _, writable in mounts))


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
