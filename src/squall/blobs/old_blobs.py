"""Old blobs: those that a collection may take, packed, each with what was found out about it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from squall.blobs.digest import Digest

STAYS: Final = 1  # something that stays names it
NAMES: Final = 2  # it is a tree or a manifest
NAMED: Final = 4  # something that goes names it
GONE: Final = 8

_SIZE: Final = 32


class OldBlobs:
    """Digests with four marks each, in 33 bytes for a digest, and at most 50 while they come.

    They are added first, each once; then closed; then marked.
    """

    def __init__(self) -> None:
        self._coming = [bytearray() for _ in range(256)]
        self._shelves: list[bytes] = []
        self._marks: list[bytearray] = []

    def __len__(self) -> int:
        return sum(map(len, (*self._coming, *self._shelves))) // _SIZE

    def add(self, digest: Digest) -> None:
        raw = bytes.fromhex(digest)
        self._coming[raw[0]] += raw

    def close(self) -> None:
        """Nothing more is added."""
        for shelf in self._coming:
            rows = sorted(bytes(shelf[at : at + _SIZE]) for at in range(0, len(shelf), _SIZE))
            shelf.clear()
            self._shelves.append(b"".join(rows))
            self._marks.append(bytearray(len(rows)))

    def mark(self, digest: Digest, mark: int) -> int | None:
        """What was marked before, now with `mark` beside it; None where this one is not among them."""
        raw = bytes.fromhex(digest)
        shelf, marks = self._shelves[raw[0]], self._marks[raw[0]]
        at = bisect_left(range(len(marks)), raw, key=lambda place: shelf[place * _SIZE : (place + 1) * _SIZE])
        if at == len(marks) or shelf[at * _SIZE : (at + 1) * _SIZE] != raw:
            return None
        before = marks[at]
        marks[at] = before | mark
        return before

    def with_marks(self, wanted: int, *, among: int) -> Iterator[Digest]:
        """Those of whose marks `among` exactly `wanted` are set; the marks may be changed meanwhile."""
        for shelf, marks in zip(self._shelves, self._marks, strict=True):
            for at, found in enumerate(marks):
                if found & among == wanted:
                    yield Digest(shelf[at * _SIZE : (at + 1) * _SIZE].hex())

    def clear(self, mark: int) -> None:
        """Takes a mark from all."""
        table = bytes(value & ~mark for value in range(256))
        self._marks = [marks.translate(table) for marks in self._marks]
