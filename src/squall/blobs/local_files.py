"""Local files: files of a client's machine as a manifest, the same whoever has them and whenever they were written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, assert_never

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest
from squall.blobs.manifest import ROOT, Attributes, Directory, Entry, File, Manifest, Part, Symlink, key
from squall.model.errors import TreeInvalid

_OLDEST_S: Final = 1_735_689_600  # the start of 2025, in seconds since 1970
_DAY_S: Final = 86_400
# Open to everybody: the root of any container must be able to copy them up, and nobody else reaches a directory that is
# made of them.
_FOLDER: Final = Attributes(mode=0o777, mtime_ns=_OLDEST_S * 1_000_000_000)
_LINK: Final = _FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file; of its mode only the x bit is kept. size in bytes; chunks: the digests of each CHUNK_BYTES of it, in their order."""

    path: str
    size: int
    chunks: tuple[Digest, ...]
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLink:
    """A symbolic link. Its target may lead anywhere: only a container follows it, in its own root."""

    path: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDirectory:
    """A directory with nothing in it; the others follow from the paths."""

    path: str


LocalEntry = LocalFile | LocalLink | LocalDirectory


def local_manifest(entries: Iterable[LocalEntry], *, below: str = "") -> Manifest:
    """The manifest of these entries, in any order. below: a directory that all of them are put into.

    Raises TreeInvalid, naming the path, for one that is there twice and for one that lies below a file or a link.
    """
    found: dict[str, Entry] = {ROOT: Directory(path=ROOT, attributes=_FOLDER)}
    for entry in entries:
        path = f"{below}/{entry.path}" if below else entry.path
        for above in _above(path):
            if not isinstance(found.setdefault(above, Directory(path=above, attributes=_FOLDER)), Directory):
                raise TreeInvalid(f"{path!r} lies below {above!r}, which is no directory", path=path)
        made = _entry(path, entry)
        there = found.setdefault(path, made)
        if there is not made and not (isinstance(there, Directory) and isinstance(made, Directory)):
            raise TreeInvalid(f"{path!r} is there twice", path=path)
    return Manifest(tuple(sorted(found.values(), key=key)))


def _above(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def _entry(path: str, entry: LocalEntry) -> Entry:
    match entry:
        case LocalFile():
            return _file(path, entry)
        case LocalLink():
            return Symlink(path=path, attributes=_LINK, target=entry.target)
        case LocalDirectory():
            return Directory(path=path, attributes=_FOLDER)
        case _:
            assert_never(entry)


def _file(path: str, entry: LocalFile) -> File:
    starts = range(0, entry.size, CHUNK_BYTES)
    if len(starts) != len(entry.chunks):
        raise TreeInvalid(f"{path!r} has {entry.size} bytes, and {len(entry.chunks)} chunks", path=path)
    return File(
        path=path,
        attributes=Attributes(
            mode=0o777 if entry.executable else 0o666, mtime_ns=_instant_s(entry.chunks) * 1_000_000_000
        ),
        size=entry.size,
        parts=tuple(
            Part(chunk=chunk, offset=0, length=min(CHUNK_BYTES, entry.size - start))
            for start, chunk in zip(starts, entry.chunks, strict=True)
        ),
    )


def _instant_s(chunks: tuple[Digest, ...]) -> int:
    """When a file of these chunks counts as changed: at a second of the first day of 2025 that its bytes say.

    The time that the client's file has would make another manifest of equal files. One for all would let Python take bytecode
    of an earlier version for that of this one: it looks at the time and the size of a source alone.
    """
    return _OLDEST_S + sum(int(chunk[:8], 16) for chunk in chunks) % _DAY_S
