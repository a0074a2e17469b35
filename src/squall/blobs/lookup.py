"""Lookup: what is at a path of a tree, links followed inside it, and what lies in a directory, found without a walk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from squall.blobs.manifest import ROOT, Directory, Entry, Hardlink, Manifest, Symlink, key
from squall.blobs.path_names import names_in
from squall.model.errors import VolumePathInvalid, VolumePathNotFound

_MOST_LINKS: Final = 40  # as in the kernel


def at(tree: Manifest, path: str) -> Entry | None:
    """The entry of this very path; no link is followed."""
    place = place_of(tree, path)
    return None if place is None else tree.entries[place]


def inode_at(tree: Manifest, entry: Entry) -> Entry:
    """What an entry names: itself, but for a further name the file that it is one of."""
    found = at(tree, entry.first) if isinstance(entry, Hardlink) else entry
    assert found is not None, "a manifest has the first names of all hard links"
    return found


def resolve(tree: Manifest, path: str) -> Entry:
    """The entry that a program would find at this path, which is no link. path: "" or names, none of them `..`.

    Raises VolumePathNotFound, and VolumePathInvalid for a link that leads out of the tree or round in a circle.
    """
    waiting, found, links = _names(path), list[str](), 0
    while waiting:
        name = waiting.pop(0)
        if name == "..":
            if not found:
                raise VolumePathInvalid(f"a link on the way to {path!r} leads out of the volume", path=path)
            found.pop()
            continue
        entry = at(tree, "/".join((*found, name)))
        entry = None if entry is None else inode_at(tree, entry)
        if entry is None or (waiting and not isinstance(entry, Directory | Symlink)):
            raise missing(path)
        if not isinstance(entry, Symlink):
            found.append(name)
            continue
        links += 1
        if entry.target.startswith("/") or links > _MOST_LINKS:
            why = "leads out of the volume" if entry.target.startswith("/") else "leads round in a circle"
            raise VolumePathInvalid(f"a link on the way to {path!r} {why}: {entry.target!r:.90}", path=path)
        waiting = [*(one for one in entry.target.split("/") if one not in {"", "."}), *waiting]
    entry = at(tree, "/".join(found))
    assert entry is not None, "the root is always there, and the others have just been seen"
    return entry


def place_of(tree: Manifest, path: str) -> int | None:
    """Where in its entries a path stands."""
    wanted = names_in(path) if path != ROOT else ()
    place = bisect_left(tree.entries, wanted, key=key)
    return place if place < len(tree.entries) and key(tree.entries[place]) == wanted else None


def end_of(tree: Manifest, place: int) -> int:
    """Where what lies in the entry at this place ends: it follows its directory at once."""
    names = key(tree.entries[place])
    if not names:
        return len(tree.entries)
    # No name has a NUL in it, so nothing lies between those below this one and its next sibling.
    return bisect_left(tree.entries, (*names[:-1], names[-1] + b"\0"), key=key)


def inside(tree: Manifest, place: int, *, start: int = 0, recursive: bool) -> Iterator[tuple[int, Entry]]:
    """What lies in the directory at this place, with its own places; from `start` on, if that is behind it."""
    end, now = end_of(tree, place), max(place + 1, start)
    while now < end:
        yield now, tree.entries[now]
        now = now + 1 if recursive else end_of(tree, now)


def missing(path: str) -> VolumePathNotFound:
    """What is said of a path that is not there."""
    return VolumePathNotFound(f"the volume has nothing at {path!r}", path=path)


def _names(path: str) -> list[str]:
    return path.split("/") if path != ROOT else []
