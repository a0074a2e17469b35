"""Manifest bytes: how a manifest is written, whole or in parts, and read again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final, assert_never

from squall.blobs.digest import Bytes, Digest, digest_of
from squall.blobs.manifest import (
    Attributes,
    Directory,
    Entry,
    Fifo,
    File,
    Hardlink,
    Manifest,
    Order,
    Part,
    Symlink,
    Whiteout,
)
from squall.model.errors import TreeInvalid

# The line of the largest file: 2 million parts, of at most 90 bytes each.
MAX_LINE_BYTES: Final = 200 << 20

_AT_ONCE: Final = 256  # lines

HEAD: Final = b'["squall-manifest",1]\n'
"""What every manifest begins with."""


def encode(manifest: Manifest) -> bytes:
    """The bytes of a manifest: ASCII, one JSON array a line. Equal manifests give equal bytes."""
    return b"".join((HEAD, *map(_line, manifest.entries)))


def decode(data: Bytes) -> Manifest:
    """The manifest that these bytes say. Raises TreeInvalid for anything that `encode` does not write."""
    reader = Reader()
    entries = reader.feed(data)
    reader.end()
    return Manifest(tuple(entries))


def manifest_digest(manifest: Manifest) -> Digest:
    """The digest of the manifest's own bytes."""
    return digest_of(encode(manifest))


class Writer:
    """Writes entries that come one by one, after the head."""

    head = HEAD

    def __init__(self) -> None:
        self._order = Order()

    def line(self, entry: Entry) -> bytes:
        """The next entry's line. Raises TreeInvalid where it is out of place."""
        self._order.admit(entry)
        return _line(entry)

    def end(self) -> None:
        """Nothing more comes. Raises TreeInvalid when nothing came."""
        self._order.end()


class Reader:
    """Reads the bytes of a manifest in parts, cut anywhere; it holds one line and one path.

    It refuses with TreeInvalid whatever is not written as `encode` does, except for a hard link whose first name is
    not there: whoever holds all paths, a Manifest or a file system, knows. most: bytes of one line.
    """

    def __init__(self, *, most: int = MAX_LINE_BYTES) -> None:
        self._most = most
        self._order = Order()
        self._rest = b""
        self._begun = False

    def feed(self, data: Bytes) -> list[Entry]:
        """The entries whose lines end in these bytes."""
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        if len(self._rest) > self._most:
            raise TreeInvalid("a line of a manifest has no end")
        if lines and not self._begun:
            self._begun = True
            if lines.pop(0) + b"\n" != HEAD:
                raise TreeInvalid("these bytes are no manifest, or one of a newer version")
        return [
            entry for at in range(0, len(lines), _AT_ONCE) for entry in self._read(lines[at : at + _AT_ONCE])
        ]

    def end(self) -> None:
        """Nothing more comes. Raises TreeInvalid where something is missing."""
        if self._rest or not self._begun:
            raise TreeInvalid("the bytes of a manifest are cut off, or none")
        self._order.end()

    def _read(self, lines: Sequence[bytes]) -> Iterator[Entry]:
        try:
            # Parsed together, which takes a third of the time; that each row has a line of its own is seen below.
            entries = [_entry(row) for row in json.loads(b"[%b]" % b",".join(lines))]
        except (ValueError, TypeError, RecursionError) as error:
            raise TreeInvalid(f"the bytes of a manifest are damaged: {error}") from error
        if len(entries) != len(lines):
            raise TreeInvalid("the bytes of a manifest are damaged: a path has no line of its own")
        for entry, line in zip(entries, lines, strict=True):
            # One manifest, one spelling: otherwise the same directory would have many digests.
            if _line(entry) != line + b"\n":
                raise TreeInvalid(f"{entry.path!r} is not as a manifest writes it", path=entry.path)
            self._order.admit(entry)
            yield entry


def _line(entry: Entry) -> bytes:
    return f"[{_row(entry)}]\n".encode("ascii")


def _row(entry: Entry) -> str:
    """JSON, written out: there may be a million of these."""
    match entry:
        case File():
            parts = ",".join([f'["{part.chunk}",{part.offset},{part.length}]' for part in entry.parts])
            return f'"f",{quoted(entry.path)},{_attribute_row(entry.attributes)},{entry.size},[{parts}]'
        case Directory():
            kind = "o" if entry.opaque else "d"
            return f'"{kind}",{quoted(entry.path)},{_attribute_row(entry.attributes)}'
        case Symlink():
            target = quoted(entry.target)
            return f'"l",{quoted(entry.path)},{_attribute_row(entry.attributes)},{target}'
        case Hardlink():
            return f'"h",{quoted(entry.path)},{quoted(entry.first)}'
        case Fifo():
            return f'"p",{quoted(entry.path)},{_attribute_row(entry.attributes)}'
        case Whiteout():
            return f'"w",{quoted(entry.path)}'
        case _:
            assert_never(entry)


def _attribute_row(kept: Attributes) -> str:
    xattrs = ",".join([f'[{quoted(name)},"{value.hex()}"]' for name, value in kept.xattrs])
    return f"{kept.mode},{kept.uid},{kept.gid},{kept.mtime_ns},[{xattrs}]"


def _entry(row: Any) -> Entry:
    match row:
        case ["f", str(path), mode, uid, gid, mtime_ns, xattrs, size, list(parts)]:
            attributes = _attributes(mode, uid, gid, mtime_ns, xattrs)
            return File(path=path, attributes=attributes, size=_int(size), parts=tuple(map(_part, parts)))
        case ["d" | "o" as kind, str(path), mode, uid, gid, mtime_ns, xattrs]:
            attributes = _attributes(mode, uid, gid, mtime_ns, xattrs)
            return Directory(path=path, attributes=attributes, opaque=kind == "o")
        case ["l", str(path), mode, uid, gid, mtime_ns, xattrs, str(target)]:
            attributes = _attributes(mode, uid, gid, mtime_ns, xattrs)
            return Symlink(path=path, attributes=attributes, target=target)
        case ["h", str(path), str(first)]:
            return Hardlink(path=path, first=first)
        case ["p", str(path), mode, uid, gid, mtime_ns, xattrs]:
            return Fifo(path=path, attributes=_attributes(mode, uid, gid, mtime_ns, xattrs))
        case ["w", str(path)]:
            return Whiteout(path=path)
        case _:
            raise ValueError(f"no entry of a manifest: {str(row)[:200]}")


def _attributes(mode: Any, uid: Any, gid: Any, mtime_ns: Any, xattrs: Any) -> Attributes:
    kept: list[tuple[str, bytes]] = []
    for pair in xattrs:
        match pair:
            case [str(name), str(value)]:
                kept.append((name, bytes.fromhex(value)))
            case _:
                raise ValueError(f"no extended attribute: {str(pair)[:200]}")
    return Attributes(
        mode=_int(mode), uid=_int(uid), gid=_int(gid), mtime_ns=_int(mtime_ns), xattrs=tuple(kept)
    )


def _part(row: Any) -> Part:
    match row:
        case [str(chunk), offset, length]:
            return Part(chunk=Digest(chunk), offset=_int(offset), length=_int(length))
        case _:
            raise ValueError(f"no part of a file: {str(row)[:200]}")


def _int(value: Any) -> int:
    # JSON's true is an int here, and must not be taken for another spelling of 1.
    if type(value) is not int:
        raise ValueError(f"no whole number: {str(value)[:80]}")
    return value
