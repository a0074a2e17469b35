"""Contents: what of a Python's directory goes into an image, and how it stands there. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    File,
    Hardlink,
    Manifest,
    Symlink,
    key,
)
from squall.images.python.nouns import PREFIX

MTIME_NS: Final = 315_532_800 * 10**9
"""When all of it was changed, as the image says: the first instant that a zip archive can tell."""

_PROGRAM = re.compile(r"python(3(\.\d+)?)?")
_LIBRARY = re.compile(r"libpython[\w.]*\.so[\w.]*")
_STDLIB = re.compile(r"python3\.\d+")
_NOT_AT_ITS_TOP: Final = frozenset(
    {
        *("site-packages", "dist-packages", "test", "idlelib", "tkinter", "turtledemo", "turtle.py"),
        # What a distribution or a machine adds to its own Python.
        *("EXTERNALLY-MANAGED", "sitecustomize.py", "usercustomize.py"),
    }
)
_NOT_ANYWHERE: Final = frozenset({"__pycache__", "test", "tests", "idle_test"})
_NOT_ENDING: Final = (".pyc", ".a", ".o", ".exe")
# For the windows of a desktop, for CPython's own tests, and for a service of the eighties with the libraries of Kerberos behind it.
_NOT_MODULES: Final = (
    "_tkinter.",
    "_test",
    "_ctypes_test.",
    "_xxtestfuzz.",
    "xxlimited",
    "xxsubtype.",
    "nis.",
)


def belongs(path: str) -> bool:
    """Whether a file at this path below a Python's prefix goes into an image.

    The interpreter, its library, the standard library with its extension modules, and the headers do. Tests, windows and packages
    do not; nor does bytecode, which is made anew.
    """
    match path.split("/"):
        case ["bin", name]:
            return _PROGRAM.fullmatch(name) is not None
        case ["include" | "share" as top, name, *_]:
            return name == "terminfo" if top == "share" else _STDLIB.fullmatch(name) is not None
        case ["lib" | "lib64", name]:
            return _LIBRARY.fullmatch(name) is not None
        case ["lib" | "lib64", name, *below] if _STDLIB.fullmatch(name):
            return _belongs_to_library(below)
        case _:
            return False


def laid(manifest: Manifest, source: str, base: Mapping[str, Attributes]) -> Manifest:
    """What of the directory `source` of a manifest goes into an image, as a layer that has it at PREFIX.

    base: what directories of the base have, by their paths, and keep.
    """
    top = f"{source}/"
    found = {
        entry.path.removeprefix(top): entry
        for entry in manifest.entries
        if entry.path.startswith(top) and isinstance(entry, File | Symlink | Hardlink)
    }
    kept = [_moved(entry, path, top) for path, entry in found.items() if belongs(path)]
    paths = {entry.path for entry in kept}
    whole = [entry for entry in kept if not isinstance(entry, Hardlink) or entry.first in paths]
    libraries = [
        path.removesuffix("/os.py") for path in paths if path.endswith("/os.py") and path.count("/") == 4
    ]
    # Python looks for it once, when it starts: packages that come later must find it there.
    empty = [
        Directory(path=f"{library}/site-packages", attributes=Attributes(mode=0o755)) for library in libraries
    ]
    return settled([*whole, *empty], base)


def settled(entries: Collection[Entry], base: Mapping[str, Attributes]) -> Manifest:
    """These files as a layer with the directories above them: all root's, all of one instant, whoever had them before.

    base: as in `laid`. An executable file stays one; the rest of its mode is what everybody's programs have.
    """
    files = {entry.path: _as_roots(entry) for entry in entries if not isinstance(entry, Directory)}
    named = {entry.path for entry in entries if isinstance(entry, Directory)} | {ROOT}
    named |= {above for path in (*files, *named) for above in _above(path)}
    own = Attributes(mode=0o755, mtime_ns=MTIME_NS)
    directories = [Directory(path=path, attributes=base.get(path, own)) for path in named]
    return Manifest(tuple(sorted((*directories, *files.values()), key=key)))


def _belongs_to_library(names: list[str]) -> bool:
    name = names[-1]
    if names[0] in _NOT_AT_ITS_TOP or not _NOT_ANYWHERE.isdisjoint(names) or name.endswith(_NOT_ENDING):
        return False
    return not (names[0] == "lib-dynload" and name.startswith(_NOT_MODULES))


def _moved(entry: Entry, path: str, top: str) -> Entry:
    moved = replace(entry, path=f"{PREFIX}/{path}")
    if isinstance(moved, Hardlink):
        return replace(moved, first=f"{PREFIX}/{moved.first.removeprefix(top)}")
    return moved


def _as_roots(entry: Entry) -> Entry:
    if isinstance(entry, File):
        mode = 0o755 if entry.attributes.mode & 0o100 else 0o644
        return replace(entry, attributes=Attributes(mode=mode, mtime_ns=MTIME_NS))
    if isinstance(entry, Symlink):
        return replace(entry, attributes=Attributes(mode=0o777, mtime_ns=MTIME_NS))
    return entry


def _above(path: str) -> Iterator[str]:
    while path != ROOT:
        path = path.rpartition("/")[0]
        yield path
