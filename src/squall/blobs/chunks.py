"""Chunks: which bytes of which files go into which blob."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

CHUNK_BYTES: Final = 512 << 10  # no chunk is larger: whoever reads one may hold it in memory

# A shared chunk of this size ends with the next file whose path says so. Were it filled to the brim always, one file
# that grew would move every file behind it into another chunk, and nothing of the layer would be found again.
_MAY_END_BYTES: Final = CHUNK_BYTES // 2
_ENDS_ONE_IN: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of bytes: `length` of them from `start` in the file, at `offset` in the chunk of this number.

    Chunks are numbered from 0 in the order in which they begin. All in bytes; no piece is empty.
    """

    path: str
    start: int
    length: int
    chunk: int
    offset: int


class Cutter:
    """Cuts files, told one by one in the order of their paths.

    A file of CHUNK_BYTES or more is cut at each CHUNK_BYTES from its own start, and shares no chunk: equal files have
    equal chunks, wherever they lie. Smaller ones are packed in their order into shared chunks of at most CHUNK_BYTES,
    about three quarters of it. The same files always give the same pieces. An empty file has none.
    """

    def __init__(self) -> None:
        self._chunks = 0
        self._shared = -1
        self._held = 0

    def cut(self, path: str, size: int) -> tuple[Piece, ...]:
        """The pieces of the next file, in the order of its bytes. Raises ValueError for a size below zero."""
        if size < 0:
            raise ValueError(f"{path!r} cannot have {size} bytes")
        if size >= CHUNK_BYTES:
            return tuple(self._alone(path, size))
        return (self._packed(path, size),) if size else ()

    def _alone(self, path: str, size: int) -> Iterator[Piece]:
        for start in range(0, size, CHUNK_BYTES):
            length = min(CHUNK_BYTES, size - start)
            yield Piece(path=path, start=start, length=length, chunk=self._begun(), offset=0)

    def _packed(self, path: str, size: int) -> Piece:
        if self._shared < 0 or self._held + size > CHUNK_BYTES:
            self._shared, self._held = self._begun(), 0
        piece = Piece(path=path, start=0, length=size, chunk=self._shared, offset=self._held)
        self._held += size
        if self._held >= _MAY_END_BYTES and _ends_a_chunk(path):
            self._shared = -1
        return piece

    def _begun(self) -> int:
        self._chunks += 1
        return self._chunks - 1


def pieces(files: Iterable[tuple[str, int]]) -> Iterator[Piece]:
    """The pieces of these files, given as (path, size in bytes) in the order of their paths."""
    cutter = Cutter()
    for path, size in files:
        yield from cutter.cut(path, size)


def _ends_a_chunk(path: str) -> bool:
    return zlib.crc32(path.encode("utf-8", "surrogateescape")) % _ENDS_ONE_IN == 0
