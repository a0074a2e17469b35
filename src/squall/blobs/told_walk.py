"""Told walk: a walk of one process that another one hears over a pipe, so that it can be taken with other rights."""

from __future__ import annotations

import errno
import json
import struct
from collections.abc import Iterator
from typing import IO, Final

from squall.blobs.manifest import File
from squall.blobs.manifest_bytes import Reader, Writer
from squall.blobs.walk import Again, Found, Read, Walking
from squall.model.errors import TreeInvalid

# Each frame is one of these letters, the length of what follows, and that.
_BYTES, _AGAIN, _READ, _ENTRY, _ENOUGH, _END, _INVALID, _REFUSED = (bytes([letter]) for letter in b"bareozif")
_HEAD: Final = struct.Struct(">cI")
_SIZE: Final = struct.Struct(">Q")
_MOST_BYTES: Final = 64 << 20


def tell(walk: Walking, to: IO[bytes]) -> None:
    """Take the whole walk, and write what is found to `to`, or why it ended. Raises OSError where nobody hears it."""
    to.writelines(_frames(walk))
    to.flush()


def _frames(walk: Walking) -> Iterator[bytes]:
    writer = Writer()
    try:
        while found := walk.take():
            for one in found:
                yield _framed(one, writer)
            yield _frame(_ENOUGH, b"")
        yield _frame(_END, json.dumps([walk.changed, walk.left_out]).encode())
    except TreeInvalid as error:
        yield _frame(_INVALID, json.dumps([error.message, error.details.get("path")]).encode())
    except OSError as error:
        yield _frame(_REFUSED, json.dumps([error.errno, error.strerror]).encode())


def _framed(found: Found, writer: Writer) -> bytes:
    match found:
        case bytes():
            return _frame(_BYTES, found)
        case Again():
            return _frame(_AGAIN, b"")
        case Read():
            file = File(path=found.path, attributes=found.attributes)
            return _frame(_READ, _SIZE.pack(found.size) + writer.line(file))
        case _:
            return _frame(_ENTRY, writer.line(found))


def _frame(kind: bytes, data: bytes) -> bytes:
    return _HEAD.pack(kind, len(data)) + data


class ToldWalk:
    """A Walking that is heard from `at`, what `tell` writes elsewhere. One thread at a time."""

    def __init__(self, at: IO[bytes]) -> None:
        self.changed: list[str] = []
        self.left_out: list[str] = []
        self._at = at
        self._reader = Reader()
        self._reader.feed(Writer.head)
        self._ended = False

    def take(self) -> list[Found]:
        """As Walk; raises OSError too where it is told no end."""
        taken: list[Found] = []
        while not self._ended:
            kind, data = self._hear()
            if kind == _ENOUGH:
                break
            if kind == _END:
                self.changed, self.left_out = json.loads(data)
                self._ended = True
                break
            taken.append(self._found(kind, data))
        return taken

    def close(self) -> None:
        """Hears nothing more."""
        self._ended = True
        self._at.close()

    def _found(self, kind: bytes, data: bytes) -> Found:
        if kind == _BYTES:
            return data
        if kind == _AGAIN:
            return Again()
        if kind == _READ:
            (entry,) = self._reader.feed(data[_SIZE.size :])
            assert isinstance(entry, File), "it is told as one"
            (size,) = _SIZE.unpack(data[: _SIZE.size])
            return Read(path=entry.path, attributes=entry.attributes, size=size)
        if kind == _ENTRY:
            return self._reader.feed(data)[0]
        said, about = json.loads(data)
        if kind == _INVALID:
            raise TreeInvalid(said, path=about)
        raise OSError(said, about)

    def _hear(self) -> tuple[bytes, bytes]:
        kind, length = _HEAD.unpack(self._exactly(_HEAD.size))
        if length > _MOST_BYTES:
            raise OSError(errno.EIO, "what a process tells of it makes no sense")
        return kind, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        data = self._at.read(length)
        if len(data) != length:
            raise OSError(errno.EIO, "the process that looks at it has ended")
        return data
