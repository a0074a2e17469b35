"""Upper walk: the upper directory of a live overlay, looked at quickly, and what has changed in it read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from squall.blobs.manifest import Whiteout
from squall.blobs.overlay_notes import Notes
from squall.blobs.upper_changes import Kind, Stamp, UpperChanges
from squall.blobs.walk import Found, How, Walk


def look_at_upper(root: Path, notes: Notes) -> dict[str, Stamp]:
    """The stamps of all that is in an upper directory, and of itself; nothing is read, and sockets are passed over.

    What comes or goes meanwhile may be in it or not. Raises OSError where a directory cannot be read.
    """
    found = {"": _stamp(os.lstat(root), "d")}
    todo = [("", os.fsencode(root))]
    while todo:
        above, where = todo.pop()
        try:
            entries = list(os.scandir(where))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            name = entry.name.decode("utf-8", "surrogateescape")
            path = f"{above}/{name}" if above else name
            try:
                seen = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = _kind(seen, entry.path, notes)
            if kind is not None:
                found[path] = _stamp(seen, kind)
            if kind == "d":
                todo.append((path, entry.path))
    return found


class UpperWalk(Walk):
    """A Walk through an upper directory that gives `changes` alone, with whiteouts for what is gone, and what is around them.

    lower: what the overlay shows below it. A directory that hides what is there is told as whiteouts of just that: what others
    have put into it since is not what its writer removed.
    """

    def __init__(self, root: Path, how: How, changes: UpperChanges, *, lower: Path | None = None) -> None:
        self._changes = changes
        self._lower = lower
        self._hiding: set[str] = set()
        self._gone: dict[str, set[bytes]] = {}
        for one in changes.gone:
            above, _, name = one.rpartition("/")
            self._gone.setdefault(above, set()).add(name.encode("utf-8", "surrogateescape"))
        super().__init__(root, how)

    def _inside(self, fd: int, path: str) -> Iterator[Found]:
        there = set(map(os.fsencode, os.listdir(fd)))
        # What is there again has come since it was looked at, and is told of next time.
        gone = (self._gone.get(path, set()) | self._hidden(path)) - there
        for name in sorted(there | gone):
            inner = name.decode("utf-8", "surrogateescape")
            inner = f"{path}/{inner}" if path else inner
            if name in gone:
                yield Whiteout(path=inner)
            elif inner in self._changes.read or inner in self._changes.around:
                yield from self._within(fd, name, path)

    def _is_opaque(self, path: str, xattrs: dict[str, bytes]) -> bool:
        # What is in a directory that hides shows nothing of below either.
        inherited = path.rpartition("/")[0] in self._hiding and path != ""
        if path in self._changes.fresh and (inherited or super()._is_opaque(path, xattrs)):
            self._hiding.add(path)
        return False

    def _hidden(self, path: str) -> set[bytes]:
        """The names below that this directory hides."""
        if self._lower is None or path not in self._hiding:
            return set()
        where = os.path.join(os.fsencode(self._lower), path.encode("utf-8", "surrogateescape"))
        if os.path.realpath(where) != where:
            return set()  # a link is no directory, and leads to none of the volume's
        try:
            return set(os.listdir(where))
        except (FileNotFoundError, NotADirectoryError):
            return set()


def _stamp(seen: os.stat_result, kind: Kind) -> Stamp:
    return Stamp(kind, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _kind(seen: os.stat_result, path: bytes, notes: Notes) -> Kind | None:
    if stat.S_ISDIR(seen.st_mode):
        return "d"
    if stat.S_ISLNK(seen.st_mode):
        return "l"
    if stat.S_ISSOCK(seen.st_mode):
        return None
    if stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0:
        return "w"
    if stat.S_ISREG(seen.st_mode):
        return "w" if seen.st_size == 0 and _has_note(path, notes.whiteout) else "f"
    return "o"


def _has_note(path: bytes, name: str) -> bool:
    try:
        return name in os.listxattr(path, follow_symlinks=False)
    except OSError:
        return False
