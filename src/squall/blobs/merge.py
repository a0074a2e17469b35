"""Merge: what one writer made of a directory, put onto what others have made of it meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.manifest import ROOT, Directory, Entry, File, Hardlink, Manifest, Part, key
from squall.blobs.stack import renamed

_UP = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A file of which all that is kept is equal in two trees, but where its bytes lie: they may be the same, or others."""

    path: str
    before: Part
    after: Part


def doubts(before: Manifest, after: Manifest) -> tuple[Doubt, ...]:
    """The files of which only a look at their bytes says whether they were written.

    Small files share chunks, and so a file that nobody touched lies elsewhere once its neighbours have changed.
    """
    old = {entry.path: entry for entry in before.entries if isinstance(entry, File)}
    found: list[Doubt] = []
    for entry in after.entries:
        was = old.get(entry.path)
        if not isinstance(entry, File) or was is None or was.parts == entry.parts:
            continue
        if (was.attributes, was.size) == (entry.attributes, entry.size) and entry.size < CHUNK_BYTES:
            found.append(Doubt(path=entry.path, before=was.parts[0], after=entry.parts[0]))
    return tuple(found)


def merge(
    before: Manifest, after: Manifest, head: Manifest, *, same: Collection[str] = frozenset()
) -> Manifest:
    """The directory `head`, with all that makes `after` of `before` done to it; all three are directories, not layers.

    A path that was written is as in `after`, whatever `head` has there: the last write wins. One that was removed is
    gone, but for a directory in which something stays: of what others wrote elsewhere, nothing is lost. What was only
    looked at is as in `head`. same: files that are equal although they lie in other chunks; see `doubts`.
    merge(before, after, before) == after, but for where equal files lie; merge(before, before, head) == head.
    """
    old, new = _by_path(before), _by_path(after)
    written = {path: new[path] for path in _written(old, after, frozenset(same))}
    gone = [path for path in old if path not in new]
    if not written and not gone:
        return head
    there = _by_path(head)
    # What a written path stands in has to be a directory, whoever removed or replaced it.
    for above in {above for path in written for above in _all_above(path)}:
        if not isinstance(there.get(above), Directory):
            written.setdefault(above, new[above])
    left = tuple(_left(head, written, frozenset(gone)))
    return Manifest(tuple(sorted((*renamed(head, left), *written.values()), key=key)))


def _written(old: dict[str, Entry], after: Manifest, same: frozenset[str]) -> set[str]:
    """The paths that are new or different, with all other names of the same files."""
    changed = {
        entry.path
        for entry in after.entries
        if entry.path not in same and not _is_as_before(old.get(entry.path), entry)
    }
    links = [entry for entry in after.entries if isinstance(entry, Hardlink)]
    torn = {entry.first for entry in links if not changed.isdisjoint((entry.path, entry.first))}
    return changed | torn | {entry.path for entry in links if entry.first in torn}


def _is_as_before(was: Entry | None, entry: Entry) -> bool:
    """Whether nobody wrote to it. When a directory was changed last, is said of what is in it."""
    if isinstance(was, Directory) and isinstance(entry, Directory):
        return was.attributes == replace(entry.attributes, mtime_ns=was.attributes.mtime_ns)
    return was == entry


def _left(head: Manifest, written: dict[str, Entry], gone: frozenset[str]) -> Iterator[Entry]:
    """What stays of the head beside what was written, in its order."""
    stays: list[Entry] = []
    hidden: tuple[bytes, ...] | None = None
    for entry in head.entries:
        names = key(entry)
        if hidden is not None and names[: len(hidden)] == hidden:
            continue
        over = written.get(entry.path)
        if over is not None:
            # Whatever lies in a directory follows it at once.
            hidden = hidden if isinstance(over, Directory) else names
        else:
            stays.append(entry)
    needed = {above for path in written for above in _all_above(path)}
    needed |= {above for entry in stays if entry.path not in gone for above in _all_above(entry.path)}
    for entry in stays:
        if entry.path not in gone or (entry.path in needed and isinstance(entry, Directory)):
            yield entry


def _by_path(manifest: Manifest) -> dict[str, Entry]:
    return {entry.path: entry for entry in manifest.entries}


def _all_above(path: str) -> Iterator[str]:
    while path != ROOT:
        path = path.rpartition(_UP)[0]
        yield path
