"""Layer tree: the paths of a layer, held in few bytes while they come in any order, and given as a manifest has them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest
from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    Fifo,
    File,
    Hardlink,
    Inode,
    Part,
    Symlink,
    Whiteout,
)
from squall.images.oci.layer_names import Names
from squall.images.oci.limits import LIMITS, Limits
from squall.model.errors import LayerInvalid, LayerTooLarge

# What the layers below show at a path; None: nothing.
Lower = Callable[[str], Entry | None]

DIGEST_BYTES: Final = 32

_ATTRIBUTES: Final = struct.Struct(
    "<cHIIqI"
)  # kind, mode, owner, group, time, number of the extended attributes
_PLACE: Final = struct.Struct("<QII")  # size, first chunk, offset in it

_FILE, _SYMLINK, _FIFO = b"f", b"l", b"p"
_DIRECTORY, _OPAQUE = b"d", b"D"
# A directory of which no entry tells, only what lies in it.
_IMPLIED, _IMPLIED_OPAQUE = b"i", b"I"
_WHITEOUT: Final = b"w"
_LEFT_OUT: Final = b"x"

_OWN: Final = b""  # where a directory with something in it keeps its own record
_DIRECTORIES: Final = _DIRECTORY + _OPAQUE + _IMPLIED + _IMPLIED_OPAQUE
_OPAQUES: Final = _OPAQUE + _IMPLIED_OPAQUE + _WHITEOUT

# What CPython takes for a record with its place in a directory, beside its name, and for a directory's own table, with
# a tenth to spare: measured. An inode of several names has one more object, and one for its first name.
_RECORD_COST: Final = 165
_TABLE_COST: Final = 150
_INODE_COST: Final = 150

_UNTOLD: Final = Attributes(mode=0o755)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a file are: its size, and the chunk that they begin in by its number, and where in it."""

    size: int
    chunk: int
    offset: int


@dataclass(slots=True)
class _Inode:
    """What has several names. first: the one that comes first in a manifest, once that is known.

    It is kept in two, its directory's path and its own name: the former is shared by all that is in there.
    """

    held: bytes | Inode
    first: tuple[str, bytes] | None = None


def parts_at(place: Place, digests: bytes | bytearray) -> Iterator[Part]:
    """The parts of the file whose bytes are there. digests: of all chunks by number, DIGEST_BYTES each."""
    for number, start in enumerate(range(0, place.size, CHUNK_BYTES), place.chunk):
        at = number * DIGEST_BYTES
        name = Digest(digests[at : at + DIGEST_BYTES].hex())
        # Only a small file begins within a chunk, and it has no other.
        yield Part(chunk=name, offset=place.offset, length=min(CHUNK_BYTES, place.size - start))


def nothing_below(_: str) -> None:
    """What a lowest layer lies on."""


def nobody(_: str) -> None:
    """Who is told of what a layer replaces, where nobody asks."""


class LayerTree:
    """Takes paths in the order of an archive, of which the last one of a name counts, and gives sorted entries.

    A path takes about 180 bytes, and a directory that is not empty 150 more: a million paths take about 200 MiB. A name is looked up below
    its directory here and nowhere else, so no link is ever followed. Raises LayerInvalid, naming the path;
    LayerTooLarge.
    """

    def __init__(self, limits: Limits = LIMITS, lower: Lower = nothing_below) -> None:
        self._limits = limits
        self._lower = lower
        self._root: dict[bytes, Any] = {_OWN: _IMPLIED}
        self._cost = 0
        self._xattrs: dict[tuple[tuple[str, bytes], ...], int] = {(): 0}
        self._from_below: dict[str, _Inode] = {}

    def add_directory(self, names: Names, attributes: Attributes) -> None:
        """A directory; one that is there keeps what is in it."""
        if not names:
            self._root[_OWN] = self._record(_kept_opaque(self._root[_OWN]), attributes)
            return
        above = self._above(names)
        there = above.get(names[-1])
        if isinstance(there, dict):
            there[_OWN] = self._record(_kept_opaque(there[_OWN]), attributes)
        else:
            self._put(above, names[-1], self._record(_kept_opaque(there), attributes))

    def add_file(self, names: Names, attributes: Attributes, place: Place) -> None:
        rest = _PLACE.pack(place.size, place.chunk, place.offset)
        self._add(names, self._record(_FILE, attributes) + rest)

    def add_symlink(self, names: Names, attributes: Attributes, target: bytes) -> None:
        self._add(names, self._record(_SYMLINK, attributes) + target)

    def add_fifo(self, names: Names, attributes: Attributes) -> None:
        self._add(names, self._record(_FIFO, attributes))

    def leave_out(self, names: Names) -> None:
        """What no manifest keeps: nothing shows there, not even what is below."""
        self._add(names, _LEFT_OUT)

    def add_name(self, names: Names, first: Names) -> None:
        """A further name of what is in this layer already, or else in those below."""
        held = self._found(first)
        if held is None:
            held = self._inode_below(names, first)
        elif isinstance(held, dict) or (isinstance(held, bytes) and held[:1] in _DIRECTORIES):
            raise _wrong(names, f"it is a further name of {_text(first)!r}, which is a directory")
        elif isinstance(held, bytes) and held != _LEFT_OUT:
            held = _Inode(held)
            self._spend(_INODE_COST)
            self._above(first)[first[-1]] = held
        self._add(names, held)

    def hide(self, names: Names) -> None:
        """What the layers below have at this path is hidden. What this layer has there stays."""
        if self._is_covered(names):
            return
        above = self._above(names)
        there = above.get(names[-1])
        if isinstance(there, dict) or (isinstance(there, bytes) and there[:1] in _DIRECTORIES):
            self.hide_within(names)
        elif there is None or there == _LEFT_OUT:
            self._put(above, names[-1], _WHITEOUT)

    def hide_within(self, names: Names) -> None:
        """Of what the layers below have in this directory nothing shows."""
        table = self._table(names, names)
        kind = table[_OWN][:1]
        table[_OWN] = (_IMPLIED_OPAQUE if kind in _IMPLIED + _IMPLIED_OPAQUE else _OPAQUE) + table[_OWN][1:]

    def entries(self, chunks: bytes | bytearray, replaced: Callable[[str], None] = nobody) -> Iterator[Entry]:
        """All entries in their order, once. chunks: the digests of all chunks by number, DIGEST_BYTES each.

        replaced: told each path where a directory that is only implied takes the place of a link or a file below. So do
        the overlays of other programs show such a layer, and no link is followed for it.
        """
        giving = _Giving(chunks, tuple(self._xattrs), self._lower, replaced)
        yield giving.directory(ROOT, self._root[_OWN])
        open_tables = [("", self._root, iter(sorted(self._root)))]
        while open_tables:
            prefix, table, rest = open_tables[-1]
            name = next(rest, None)
            if name is None:
                open_tables.pop()
            elif name != _OWN:
                path = _joined(prefix, name)
                held = table[name]
                if isinstance(held, dict):
                    yield giving.directory(path, held[_OWN])
                    open_tables.append((path + "/", held, iter(sorted(held))))
                elif isinstance(held, _Inode):
                    yield giving.inode(prefix, name, held)
                elif (entry := giving.entry(path, held)) is not None:
                    yield entry

    def _add(self, names: Names, held: bytes | _Inode) -> None:
        if not names:
            raise _wrong(names, "the root of a layer is a directory, and nothing else")
        self._put(self._above(names), names[-1], held)

    def _put(self, above: dict[bytes, Any], name: bytes, held: Any) -> None:
        if name not in above:
            self._spend(_RECORD_COST + len(name))
        above[name] = held

    def _above(self, names: Names) -> dict[bytes, Any]:
        """The table of the directory that a path is in; the directories on the way are implied."""
        return self._table(names[:-1], names)

    def _table(self, above: Names, names: Names) -> dict[bytes, Any]:
        table = self._root
        for count, name in enumerate(above, 1):
            below = table.get(name)
            if not isinstance(below, dict):
                below = {_OWN: _as_directory(below, above[:count], names)}
                self._spend(_TABLE_COST)
                self._put(table, name, below)
            table = below
        return table

    def _is_covered(self, names: Names) -> bool:
        """Whether this layer has something else than a directory above a path, or hides what is above it.

        Then nothing of the layers below shows at the path anyway. umoci hides all that was in a directory when a file
        comes in its place.
        """
        table = self._root
        for name in names[:-1]:
            held = table.get(name)
            if not isinstance(held, dict):
                return held is not None and not (isinstance(held, bytes) and held[:1] in _DIRECTORIES)
            table = held
        return False

    def _found(self, names: Names) -> Any:
        """What this layer has there; None: nothing. Raises LayerInvalid where it hides what is below."""
        table: Any = self._root
        for count, name in enumerate(names):
            if not isinstance(table, dict):
                raise _wrong(names, f"{_text(names[:count])!r} is no directory")
            held = table.get(name)
            if held == _WHITEOUT or (held is None and table[_OWN][:1] in _OPAQUES):
                raise _wrong(names, "a hard link leads to it, and this layer hides it")
            if held is None:
                return None
            table = held
            if isinstance(table, bytes) and table[:1] in _DIRECTORIES:
                table = {_OWN: table}
        return table

    def _inode_below(self, names: Names, first: Names) -> _Inode:
        path = _text(first)
        found = self._lower(path)
        if isinstance(found, Hardlink):
            path = found.first
            found = self._lower(path)
        if not isinstance(found, Inode):
            raise _wrong(
                names,
                f"it is a further name of {_text(first)!r}, which is neither before it in this layer nor in those below",
            )
        if path not in self._from_below:
            self._spend(_INODE_COST + _RECORD_COST + len(path))
            self._from_below[path] = _Inode(found)
        return self._from_below[path]

    def _record(self, kind: bytes, kept: Attributes) -> bytes:
        number = self._xattrs.get(kept.xattrs)
        if number is None:
            self._spend(_RECORD_COST + sum(len(name) + len(value) + 100 for name, value in kept.xattrs))
            number = self._xattrs[kept.xattrs] = len(self._xattrs)
        return _ATTRIBUTES.pack(kind, kept.mode, kept.uid, kept.gid, kept.mtime_ns, number)

    def _spend(self, cost: int) -> None:
        self._cost += cost
        if self._cost > self._limits.held_bytes:
            limit = self._limits.held_bytes
            raise LayerTooLarge(f"the names of the layer take more than {limit} bytes of memory", limit=limit)


class _Giving:
    """Makes entries of what is held."""

    def __init__(
        self,
        chunks: bytes | bytearray,
        xattrs: Sequence[tuple[tuple[str, bytes], ...]],
        lower: Lower,
        replaced: Callable[[str], None],
    ) -> None:
        self._chunks = chunks
        self._xattrs = xattrs
        self._lower = lower
        self._replaced = replaced

    def directory(self, path: str, held: bytes) -> Directory:
        kind = held[:1]
        opaque = kind in _OPAQUES
        if kind in _DIRECTORY + _OPAQUE:
            return Directory(path=path, attributes=self._attributes(held), opaque=opaque)
        below = self._lower(path)
        if isinstance(below, Directory):
            return Directory(path=path, attributes=below.attributes, opaque=opaque)
        if below is not None and not opaque:
            self._replaced(path)
        return Directory(path=path, attributes=_UNTOLD, opaque=opaque)

    def inode(self, prefix: str, name: bytes, held: _Inode) -> Entry:
        path = _joined(prefix, name)
        if held.first is not None:
            return Hardlink(path=path, first=_joined(*held.first))
        held.first = (prefix, name)
        return replace(held.held, path=path) if isinstance(held.held, Inode) else self._inode(path, held.held)

    def entry(self, path: str, held: bytes) -> Entry | None:
        """What is told of a path; None: nothing."""
        if held[:1] in _DIRECTORIES:
            return self.directory(path, held)
        if held not in {_LEFT_OUT, _WHITEOUT}:
            return self._inode(path, held)
        return Whiteout(path=path) if held == _WHITEOUT or self._lower(path) is not None else None

    def _inode(self, path: str, held: bytes) -> Inode:
        attributes = self._attributes(held)
        rest = held[_ATTRIBUTES.size :]
        match held[:1]:
            case b"l":
                return Symlink(
                    path=path, attributes=attributes, target=rest.decode("utf-8", "surrogateescape")
                )
            case b"p":
                return Fifo(path=path, attributes=attributes)
            case _:
                size, chunk, offset = _PLACE.unpack(rest)
                parts = parts_at(Place(size, chunk, offset), self._chunks)
                return File(path=path, attributes=attributes, size=size, parts=tuple(parts))

    def _attributes(self, held: bytes) -> Attributes:
        _, mode, uid, gid, mtime_ns, xattrs = _ATTRIBUTES.unpack_from(held)
        return Attributes(mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns, xattrs=self._xattrs[xattrs])


def _as_directory(held: Any, above: Names, names: Names) -> bytes:
    """The record of a directory in place of what is there. Raises LayerInvalid where that is none."""
    if held is None:
        return _IMPLIED
    if held == _WHITEOUT:
        return _IMPLIED_OPAQUE
    if isinstance(held, bytes) and held[:1] in _DIRECTORIES:
        return held
    raise _wrong(names, f"in this layer {_text(above)!r} is no directory but a link, a file or a device")


def _kept_opaque(held: Any) -> bytes:
    """The kind of a directory that comes in the place of this."""
    return _OPAQUE if isinstance(held, bytes) and held[:1] in _OPAQUES else _DIRECTORY


def _joined(prefix: str, name: bytes) -> str:
    return prefix + name.decode("utf-8", "surrogateescape")


def _text(names: Names) -> str:
    return b"/".join(names).decode("utf-8", "surrogateescape")


def _wrong(names: Names, why: str) -> LayerInvalid:
    path = _text(names)
    return LayerInvalid(f"{path[:200]!r} cannot be part of a layer: {why}", entry=path[:200])
