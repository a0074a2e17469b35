"""Edit: paths of a tree copied, moved and removed, as `cp`, `mv` and `rm` do it; the bytes stay where they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from squall.blobs.lookup import missing
from squall.blobs.manifest import ROOT, Attributes, Directory, Entry, Hardlink, Inode, Manifest
from squall.blobs.path_names import names_in
from squall.blobs.stack import stack
from squall.model.errors import TreeInvalid, VolumePathInvalid, VolumePathTaken

_OPEN_TO_OTHERS = 0o755


def removed(tree: Manifest, path: str, *, recursive: bool = False) -> Manifest:
    """Without a path, and all that lies in it; of the volume's own directory, without what lies in it.

    Raises VolumePathNotFound, and VolumePathInvalid for a directory unless `recursive`.
    """
    paths = _Paths(tree)
    if paths.is_directory(path) and not recursive:
        raise VolumePathInvalid(
            f"{path or '/'!r} is a directory", remedy="pass `recursive=True`, or `-r`", path=path
        )
    for one in paths.below(path):
        paths.drop(one)
    if path != ROOT:
        paths.drop(path)
    return paths.manifest()


def copied(tree: Manifest, sources: Sequence[str], target: str, *, into: bool, recursive: bool) -> Manifest:
    """With copies of these paths at `target`, or in it where that is a directory or `into` says so.

    A file takes the place of a file; a directory is laid over one. What `target` lies in is made. Raises
    VolumePathNotFound, VolumePathInvalid for a directory unless `recursive`, and VolumePathTaken.
    """
    paths = _Paths(tree)
    into = into or len(sources) > 1 or paths.is_directory(target, strict=False)
    for source in sources:
        if paths.is_directory(source) and not recursive:
            raise VolumePathInvalid(
                f"{source or '/'!r} is a directory", remedy="pass `recursive=True`, or `-r`", path=source
            )
        goal = _goal(source, target, into=into)
        _check_apart(source, goal)
        for one in (source, *paths.below(source)):
            paths.copy(one, f"{goal}{one.removeprefix(source)}")
    return paths.manifest()


def moved(tree: Manifest, source: str, target: str, *, into: bool = False) -> Manifest:
    """With a path under another name, or in `target` where that is a directory or `into` says so.

    A file takes the place of a file, and a directory that of an empty one. Raises VolumePathNotFound, VolumePathInvalid,
    VolumePathTaken.
    """
    paths = _Paths(tree)
    if source == ROOT:
        raise VolumePathInvalid("the volume's own directory stays where it is", path=source)
    paths.is_directory(source)
    goal = _goal(source, target, into=into or paths.is_directory(target, strict=False))
    if goal == source:
        return tree
    _check_apart(source, goal)
    if paths.is_directory(goal, strict=False) and paths.below(goal):
        raise VolumePathTaken(f"there is a directory at {goal!r}, which is not empty", path=goal)
    for one in (source, *paths.below(source)):
        paths.move(one, f"{goal}{one.removeprefix(source)}")
    return paths.manifest()


def uploaded(tree: Manifest, layer: Manifest, *, force: bool) -> Manifest:
    """With the files of a layer, and the directories that they lie in, which stay as they are where they are there.

    force: a file takes the place of a file, or of a link. Raises VolumePathTaken, and TreeInvalid for a layer that hides something.
    """
    if not layer.whole:
        raise TreeInvalid("what is uploaded hides nothing of what is there")
    there = {entry.path: entry for entry in tree.entries}
    put: list[Entry] = []
    for entry in layer.entries:
        old = there.get(entry.path)
        if isinstance(old, Directory) and isinstance(entry, Directory):
            put.append(old)
            continue
        if isinstance(old, Directory) or (old is not None and (isinstance(entry, Directory) or not force)):
            what = "directory" if isinstance(old, Directory) else "file"
            raise VolumePathTaken(f"there is a {what} at {entry.path!r} already", path=entry.path)
        put.append(entry)
    return stack(tree, Manifest(tuple(put)))


class _Paths:
    """A tree to be changed: each path with what it names, so that several names of a file stay that."""

    def __init__(self, tree: Manifest) -> None:
        self._inodes: list[Entry] = [entry for entry in tree.entries if not isinstance(entry, Hardlink)]
        self._at = {entry.path: number for number, entry in enumerate(self._inodes)}
        links = [entry for entry in tree.entries if isinstance(entry, Hardlink)]
        self._at |= {entry.path: self._at[entry.first] for entry in links}

    def is_directory(self, path: str, *, strict: bool = True) -> bool:
        """Whether a path is one. strict: raises VolumePathNotFound where nothing is there."""
        if path in self._at:
            return isinstance(self._inodes[self._at[path]], Directory)
        if strict:
            raise missing(path)
        return False

    def below(self, path: str) -> list[str]:
        """All that lies in a path, each after its directory."""
        start = f"{path}/" if path != ROOT else ""
        return sorted(one for one in self._at if one.startswith(start) and one not in {path, ROOT})

    def drop(self, path: str) -> None:
        del self._at[path]

    def copy(self, source: str, goal: str) -> None:
        """A file of its own at `goal`, or a directory, unless one is there."""
        entry = self._inodes[self._at[source]]
        if self._make_way(entry, goal):
            self._inodes.append(entry)
            self._at[goal] = len(self._inodes) - 1

    def move(self, source: str, goal: str) -> None:
        number = self._at.pop(source)
        if self._make_way(self._inodes[number], goal) or goal in self._at:
            self._at[goal] = number

    def manifest(self) -> Manifest:
        """The tree as it is now."""
        firsts: dict[int, str] = {}
        entries: list[Entry] = []
        for path in sorted(self._at, key=lambda path: names_in(path) if path != ROOT else ()):
            number = self._at[path]
            entry = self._inodes[number]
            if isinstance(entry, Inode) and number in firsts:
                entries.append(Hardlink(path=path, first=firsts[number]))
            else:
                firsts[number] = path
                entries.append(replace(entry, path=path))
        return Manifest(tuple(entries))

    def _make_way(self, entry: Entry, goal: str) -> bool:
        """Whether the entry is to be put at `goal`: a directory that is there stays as it is. Raises VolumePathTaken."""
        for above in _all_above(goal):
            if not self.is_directory(above, strict=False):
                if above in self._at:
                    raise VolumePathTaken(f"{above!r} is a file, and nothing lies in it", path=above)
                self._inodes.append(Directory(path=above, attributes=_as_old_as(entry)))
                self._at[above] = len(self._inodes) - 1
        if goal not in self._at:
            return True
        there = self.is_directory(goal)
        if there != isinstance(entry, Directory):
            what = "directory" if there else "file"
            raise VolumePathTaken(f"there is a {what} at {goal!r}", path=goal)
        return not there


def _as_old_as(entry: Entry) -> Attributes:
    """What a directory gets that is made for an entry: a pure function knows no time of its own."""
    assert isinstance(entry, Inode | Directory)
    return Attributes(mode=_OPEN_TO_OTHERS, mtime_ns=entry.attributes.mtime_ns)


def _goal(source: str, target: str, *, into: bool) -> str:
    if not into:
        return target
    name = source.rpartition("/")[2]
    return "/".join(filter(None, (target, name)))


def _check_apart(source: str, goal: str) -> None:
    if goal == source or goal.startswith(f"{source}/" if source else ""):
        raise VolumePathInvalid(f"{source or '/'!r} cannot be put into itself, at {goal!r}", path=goal)


def _all_above(path: str) -> Iterable[str]:
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]
