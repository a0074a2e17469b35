"""Stack: a layer laid over a directory, and the layer that makes one directory of another, both as manifests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from squall.blobs.manifest import ROOT, Directory, Entry, Hardlink, Inode, Manifest, Whiteout, hides, key
from squall.model.errors import TreeInvalid

_UP: Final = "/"


def stack(lower: Manifest, upper: Manifest) -> Manifest:
    """The directory that shows with `upper`, a layer, over `lower`, a directory: what an overlay of both shows.

    A path of the layer takes the place of one below, and so of everything in it, except that a directory over a
    directory shows both, with the attributes of the layer's. What loses its first name keeps the others.
    Raises TreeInvalid where lower is no directory but a layer itself.
    """
    _check_whole(lower)
    left = tuple(_left_of(lower, upper))
    shown = (_without_marks(entry) for entry in upper.entries if not isinstance(entry, Whiteout))
    return Manifest(tuple(sorted((*renamed(lower, left), *shown), key=key)))


def flattened(layers: Sequence[Manifest]) -> Manifest:
    """The directory that shows with these layers, the lowest first. Raises TreeInvalid without any."""
    if not layers:
        raise TreeInvalid("a directory is made of one layer at least")
    shown = Manifest((_without_marks(layers[0].entries[0]),))
    for layer in layers:
        shown = stack(shown, layer)
    return shown


def diff(before: Manifest, after: Manifest) -> Manifest:
    """The layer that shows `after` once it lies over `before`.

    stack(before, diff(before, after)) == after. It has what is new or different with the directories above, in full, and whiteouts of what is gone; all names of a
    file if one of them differs, for a hard link leads nowhere out of its layer. Raises TreeInvalid where one of both
    is no directory but a layer.
    """
    _check_whole(before)
    _check_whole(after)
    old, new = _by_path(before), _by_path(after)
    told = _changed(old, after)
    gone = [path for path in old if path not in new and isinstance(new.get(_above(path)), Directory)]
    wanted = {ROOT, *told, *(above for path in (*told, *gone) for above in _all_above(path))}
    entries = (*(new[path] for path in wanted), *(Whiteout(path=path) for path in gone))
    return Manifest(tuple(sorted(entries, key=key)))


def renamed(lower: Manifest, left: tuple[Entry, ...]) -> Iterator[Entry]:
    """What is left of a directory, with another first name for those that lost theirs: the next in order."""
    named = {entry.path: entry for entry in lower.entries if isinstance(entry, Inode)}
    firsts = {entry.path: entry.path for entry in left if isinstance(entry, Inode)}
    for entry in left:
        if not isinstance(entry, Hardlink):
            yield entry
        elif entry.first in firsts:
            yield replace(entry, first=firsts[entry.first])
        else:
            firsts[entry.first] = entry.path
            yield replace(named[entry.first], path=entry.path)


def _left_of(lower: Manifest, upper: Manifest) -> Iterator[Entry]:
    """What the layer leaves of the directory. Whatever lies in a directory follows it at once."""
    over = _by_path(upper)
    hidden: tuple[bytes, ...] | None = None
    for entry in lower.entries:
        names = key(entry)
        if hidden is not None and names[: len(hidden)] == hidden:
            continue
        covering = over.get(entry.path)
        if covering is None:
            yield entry
        elif hides(covering) or not isinstance(covering, Directory):
            hidden = names


def _changed(old: dict[str, Entry], after: Manifest) -> set[str]:
    """The paths that are new or different, with all other names of the same files."""
    changed = {entry.path for entry in after.entries if old.get(entry.path) != entry}
    links = [entry for entry in after.entries if isinstance(entry, Hardlink)]
    torn = {entry.first for entry in links if not changed.isdisjoint((entry.path, entry.first))}
    return changed | torn | {entry.path for entry in links if entry.first in torn}


def _without_marks(entry: Entry) -> Entry:
    return replace(entry, opaque=False) if isinstance(entry, Directory) and entry.opaque else entry


def _by_path(manifest: Manifest) -> dict[str, Entry]:
    return {entry.path: entry for entry in manifest.entries}


def _above(path: str) -> str:
    return path.rpartition(_UP)[0]


def _all_above(path: str) -> Iterator[str]:
    while path != ROOT:
        path = _above(path)
        yield path


def _check_whole(manifest: Manifest) -> None:
    marked = next((entry for entry in manifest.entries if hides(entry)), None)
    if marked is not None:
        raise TreeInvalid(f"{marked.path!r} hides what is below it: this is a layer", path=marked.path)
