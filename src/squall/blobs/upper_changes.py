"""Upper changes: what the upper directory of an overlay holds now that it did not when it was kept last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["d", "f", "l", "w", "o"]

# Two writes within one tick of the kernel's clock have one time: what was changed so shortly before it was looked at may
# have changed once more and look the same. Ticks are 10 ms at most.
SETTLED_NS: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a path is known to be unchanged. kind: directory, file, link, whiteout, or anything else. Times in ns."""

    kind: Kind
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpperChanges:
    """What has to be kept of an upper directory. Paths as manifests have them; "" is the directory itself.

    read: what is new or another now. gone: what was kept, and has left no whiteout, the topmost paths only. fresh: directories
    of `read` that are others than before, so that what an overlay notes of them was not kept yet.
    """

    read: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()
    around: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def any(self) -> bool:
        """Whether there is anything but the directory itself."""
        return bool(self.gone or self.read - {""})


def changes_of(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> UpperChanges:
    """What makes whatever was kept `before` into what is there `now`."""
    read = frozenset(path for path, stamp in now.items() if before.get(path) != stamp)
    fresh = frozenset(path for path in read if _is_other_directory(before.get(path), now[path]))
    missing = {path for path, stamp in before.items() if path not in now and stamp.kind != "w"}
    gone = frozenset(path for path in missing if _is_told(path, missing, now))
    around = frozenset(above for path in (*read, *gone) for above in _above(path))
    return UpperChanges(read=read, gone=gone, fresh=fresh, around=around)


def unsettled(stamps: Mapping[str, Stamp], at_ns: int) -> frozenset[str]:
    """The paths of which nobody can say later whether they have changed, as they had so shortly before `at_ns`, when they were looked at."""
    return frozenset(path for path, stamp in stamps.items() if stamp.ctime_ns > at_ns - SETTLED_NS)


def seen_after(stamps: Mapping[str, Stamp], at_ns: int) -> dict[str, Stamp]:
    """What to compare with next time, of what was looked at at `at_ns` and kept."""
    young = unsettled(stamps, at_ns)
    # Known to be there, so that its going is seen; no time of it is ever the same.
    return {
        path: Stamp(stamp.kind, stamp.inode, stamp.size, -1, -1) if path in young else stamp
        for path, stamp in stamps.items()
    }


def stamps_to_json(stamps: Mapping[str, Stamp]) -> list[list[str | int]]:
    """As JSON carries them; names that are no text come through."""
    return [
        [path, stamp.kind, stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns]
        for path, stamp in stamps.items()
    ]


def stamps_from_json(rows: Iterable[Iterable[str | int]]) -> dict[str, Stamp]:
    """What `stamps_to_json` gave. Raises ValueError, TypeError for what is none of it."""
    found: dict[str, Stamp] = {}
    for path, kind, *numbers in rows:
        inode, size, mtime_ns, ctime_ns = map(int, numbers)
        found[str(path)] = Stamp(kind, inode, size, mtime_ns, ctime_ns)  # type: ignore[arg-type]  # written by us
    return found


def _is_other_directory(before: Stamp | None, now: Stamp) -> bool:
    if now.kind != "d":
        return False
    return before is None or before.kind != "d" or before.inode != now.inode


def _is_told(path: str, missing: set[str], now: Mapping[str, Stamp]) -> bool:
    """Whether the going of a path has to be told: not where all that is around it is told to be something else, or gone."""
    return all(
        above not in missing and (above not in now or now[above].kind == "d") for above in _above(path)
    )


def _above(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path
