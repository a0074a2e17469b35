"""Packing: the bytes of files, as an archive brings them one file after the other, into chunks."""

from __future__ import annotations

from typing import Final

from squall.blobs.chunks import CHUNK_BYTES, Cutter
from squall.blobs.digest import Bytes
from squall.images.oci.layer_tree import Place

_NOWHERE: Final = Place(0, 0, 0)


class Packing:
    """Cuts files as a snapshot of a directory does, in the order in which they come: equal archives, equal chunks.

    chunks: those that are full, by number, for the caller to take. held: their bytes.
    """

    def __init__(self) -> None:
        self.chunks: list[tuple[int, bytes]] = []
        self.held = 0
        self._cutter = Cutter()
        self._numbers = 0
        # The chunk that small files share: which one of the cutter's, its number here, and its bytes.
        self._planned = self._number = -1
        self._shared = bytearray()
        # The large file that is being taken: the number of its next chunk, and the bytes of that so far.
        self._next = 0
        self._alone = bytearray()
        self._large = False
        self._left = 0

    def begin(self, path: str, size: int) -> Place:
        """Where the bytes of the next file will be; exactly `size` of them are added then."""
        self._large = size >= CHUNK_BYTES
        self._left = size
        if not size:
            return _NOWHERE
        if self._large:
            # Not cut beforehand: an archive may say any size, and bring nothing.
            self._next = self._numbers
            self._numbers += -(-size // CHUNK_BYTES)
            return Place(size, self._next, 0)
        (piece,) = self._cutter.cut(path, size)
        if piece.chunk != self._planned:
            self._seal()
            self._planned, self._number = piece.chunk, self._numbers
            self._numbers += 1
        return Place(size, self._number, piece.offset)

    def add(self, data: Bytes) -> None:
        """The next bytes of the file that was begun."""
        view = memoryview(data).cast("B")
        self._left -= len(view)
        if not self._large:
            self._shared += view
            return
        while view:
            missing = CHUNK_BYTES - len(self._alone)
            self._alone += view[:missing]
            view = view[missing:]
            if len(self._alone) == CHUNK_BYTES or (not view and not self._left):
                self._full(self._next, self._alone)
                self._next += 1
                self._alone = bytearray()

    def end(self) -> None:
        """No file comes any more: the shared chunk is full."""
        self._seal()

    def _seal(self) -> None:
        if self._shared:
            self._full(self._number, self._shared)
            self._shared = bytearray()

    def _full(self, number: int, data: bytearray) -> None:
        self.chunks.append((number, bytes(data)))
        self.held += len(data)
