"""The user's source that ships with an app: which files, from where, under which names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from squall.model.errors import SourceFileNotFound, SourceTooLarge
from squall.sdk.imports import Finder, imported_names
from squall.sdk.outside import Outside, look_elsewhere
from squall.sdk.remote_frames import know_moved
from squall.sdk.shared_directory import why_shared
from squall.sdk.source_cache import SourceCache
from squall.sdk.source_walk import SourceFile, Walk, walk

SIZE_LIMIT_BYTES: Final = 100 * 1024 * 1024
FILES_LIMIT: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files that ship, by their paths in the container's source directory, sorted.

    root: the local directory whose files keep their relative paths. entry_module: the name under which the entry
    file is imported there. notes: what the user should know about what did not ship. alone: why only the entry and what
    it imports ships, if so. moved: files from outside of the root, {path in the container: local path}.
    """

    files: tuple[SourceFile, ...]
    root: str
    entry_module: str
    notes: tuple[str, ...] = ()
    alone: str | None = None
    moved: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The file that was named, in the directory from which its module is imported. path: relative to root."""

    root: str
    path: str
    module: str


def source_of_file(file: str, *, size_limit: int = SIZE_LIMIT_BYTES) -> Source:
    """What ships when this file is run: the directory of the file, or the directory that its package lies in.

    Raises SourceFileNotFound, and SourceTooLarge with the largest entries where it is more than size_limit bytes.
    """
    return _source(entry_of_file(file), size_limit)


def source_of_module(
    name: str, *, paths: Iterable[str] | None = None, size_limit: int = SIZE_LIMIT_BYTES
) -> Source:
    """What ships when this module is run: the directory of `paths` (default: here, then sys.path) that holds it."""
    return _source(entry_of_module(name, paths), size_limit)


def with_outside(source: Source, *, loaded: Iterable[str] = (), cache: SourceCache | None = None) -> Source:
    """The source with the packages that it imports from elsewhere on this machine: editable installs, PYTHONPATH.

    loaded: names of modules that have been imported here for it already, by imports that no text may show. Raises
    ModuleNotMountable for an editable install that has no directory to ship.
    """
    cache = cache or SourceCache(None)
    taken = {file.path.split("/", 1)[0].removesuffix(".py") for file in source.files}
    outside = Outside(look_elsewhere(source.root), taken=taken, imports=cache.imports)
    found = outside.files(source.files, loaded)
    if not found:
        return source
    files = tuple(sorted((*source.files, *found), key=lambda file: file.path))
    _check_size(files, source.root, SIZE_LIMIT_BYTES)
    moved = {**source.moved, **{file.path: file.absolute for file in found}}
    know_moved(source.root, moved)
    return replace(source, files=files, moved=moved)


def entry_of_file(file: str) -> Entry:
    """The entry that a path names. Raises SourceFileNotFound."""
    absolute = os.path.abspath(file)
    if not os.path.isfile(absolute):
        what = "is a directory" if os.path.isdir(absolute) else "does not exist"
        raise SourceFileNotFound(f"{file} {what}", path=file)
    root, name = os.path.split(absolute)
    names = [name.removesuffix(".py")]
    while os.path.isfile(os.path.join(root, "__init__.py")) and os.path.dirname(root) != root:
        root, package = os.path.split(root)
        names.insert(0, package)
    if names[-1] == "__init__" and len(names) > 1:
        names.pop()
    return Entry(root=root, path=os.path.relpath(absolute, root).replace(os.sep, "/"), module=".".join(names))


def entry_of_module(name: str, paths: Iterable[str] | None = None) -> Entry:
    """The entry that a module name stands for, found without importing anything. Raises SourceFileNotFound."""
    parts = name.split(".")
    for path in paths if paths is not None else ["", *sys.path]:
        root = os.path.abspath(path or os.curdir)
        base = os.path.join(root, *parts)
        for candidate in (base + ".py", os.path.join(base, "__main__.py"), os.path.join(base, "__init__.py")):
            if os.path.isfile(candidate):
                module = f"{name}.__main__" if candidate.endswith("__main__.py") else name
                return Entry(
                    root=root, path=os.path.relpath(candidate, root).replace(os.sep, "/"), module=module
                )
    raise SourceFileNotFound(
        f"there is no module {name!r} in the current directory or on the path", path=name
    )


def _source(entry: Entry, size_limit: int) -> Source:
    alone = why_shared(entry.root)
    found = _alone(entry) if alone else walk(entry.root, limit=FILES_LIMIT)
    files = {file.path: file for file in found.files}
    # Whatever the rules say: the file that was named ships.
    entry_file = SourceFile.at(entry.root, entry.path)
    files[entry.path] = entry_file
    ordered = tuple(files[path] for path in sorted(files))
    _check_size(ordered, entry.root, size_limit)
    notes = list(found.notes)
    if alone:
        notes.append(
            f"{entry.root} is {alone}, so only {entry.path} and what it imports from there ship; "
            "put the file into a directory of its own to ship everything beside it"
        )
    return Source(
        files=ordered, root=entry.root, entry_module=entry.module, notes=tuple(notes), alone=alone, moved={}
    )


def _alone(entry: Entry) -> Walk:
    """The entry, or its whole package, and the modules beside it that they import."""
    finder = Finder(entry.root)
    files: dict[str, SourceFile] = {}
    notes: list[str] = []
    # An installed package finds what it imports in the image too.
    siblings = why_shared(entry.root) != "a directory of installed packages"
    waiting = [entry.module.split(".")[0] if "/" in entry.path else entry.path.removesuffix(".py")]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for place in finder.places(name):
            found = walk(entry.root, below=place, limit=FILES_LIMIT) if place.is_directory else None
            new = found.files if found else (SourceFile.at(entry.root, place.path),)
            notes += found.notes if found else ()
            files.update((file.path, file) for file in new)
            if siblings:
                waiting += [
                    each
                    for file in new
                    if file.path.endswith(".py")
                    for each in imported_names(file.absolute)
                ]
    return Walk(files=tuple(files.values()), notes=tuple(notes))


def _check_size(files: tuple[SourceFile, ...], root: str, limit: int) -> None:
    size = sum(file.size for file in files)
    if size <= limit and len(files) <= FILES_LIMIT:
        return
    largest = ", ".join(f"{name} ({_in_words(bytes_, count)})" for name, bytes_, count in _largest(files))
    what = f"{size / 2**20:,.0f} MiB in {len(files):,} files; at most {limit / 2**20:,.0f} MiB in {FILES_LIMIT:,} files ship"
    raise SourceTooLarge(
        f"the source in {root} is {what}. The largest: {largest}", size_bytes=size, limit_bytes=limit
    )


def _largest(files: tuple[SourceFile, ...]) -> list[tuple[str, int, int]]:
    """The five entries that weigh most: files and directories at the top, or below a directory that holds most."""
    prefix = ""
    while True:
        sizes: dict[str, list[int]] = {}
        for file in files:
            if file.path.startswith(prefix):
                rest = file.path[len(prefix) :]
                name = rest.split("/")[0] + ("/" if "/" in rest else "")
                entry = sizes.setdefault(prefix + name, [0, 0])
                entry[0] += file.size
                entry[1] += 1
        ranked = sorted(sizes.items(), key=lambda item: -item[1][0])[:5]
        if len(sizes) == 1 and ranked[0][0].endswith("/"):
            prefix = ranked[0][0]
            continue
        return [(name, size, count) for name, (size, count) in ranked]


def _in_words(size: int, count: int) -> str:
    text = f"{size / 2**20:,.1f} MiB"
    return f"{text} in {count:,} files" if count > 1 else text
