"""Input blocks: the packed inputs of a call, kept as they came until their outcomes are in."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from squall.wire.codec import Buffer

MOST_FDS = 6
MOST_BYTES = 2 * 1024 * 1024


@dataclass(slots=True)
class _Block:
    start: int
    sizes: list[Any]
    offsets: list[int]
    payload: memoryview
    fds: tuple[int, ...]
    left: int


class InputBlocks:
    """The inputs of one call by index. Sizes are as the wire says them: bytes, buffers, or a descriptor."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._starts: list[int] = []
        self.bytes = 0

    def add(self, start: int, sizes: list[Any], payload: Buffer, fds: tuple[int, ...]) -> None:
        """Takes a block of inputs from `start` on, and its descriptors. Raises ValueError when sizes and bytes differ."""
        offsets = list(accumulate(map(_inline, sizes), initial=0))
        if offsets[-1] != len(payload) or any(not _fits(size, len(fds)) for size in sizes):
            raise ValueError("the sizes of the inputs do not add up to what was sent")
        block = _Block(start, sizes, offsets, memoryview(payload), fds, len(sizes))
        self._blocks.append(block)
        self._starts.append(start)
        self.bytes += len(payload)

    def cut(self, start: int, stop: int) -> tuple[list[Any], list[memoryview], tuple[int, ...], int]:
        """Inputs from `start` on, at most to `stop`: sizes, payload parts, descriptors (still owned here), and where it
        really stops: before the descriptors of one frame run out, or its payload is too large.
        """
        sizes: list[Any] = []
        parts: list[memoryview] = []
        fds: list[int] = []
        size = 0
        at = start
        place = bisect_right(self._starts, start) - 1
        while at < stop and place < len(self._blocks):
            block = self._blocks[place]
            low, high = at - block.start, min(stop - block.start, len(block.sizes))
            if block.fds:
                for index in range(low, high):
                    if len(fds) == MOST_FDS:
                        return sizes, parts, tuple(fds), at
                    sizes.append(_renumbered(block.sizes[index], block.fds, fds))
                    at += 1
            else:
                room = block.offsets[low] + MOST_BYTES - size
                if block.offsets[high] > room:
                    high = max(bisect_right(block.offsets, room) - 1, low + (not sizes))
                    stop = block.start + high
                sizes += block.sizes[low:high]
                at = block.start + high
            part = block.payload[block.offsets[low] : block.offsets[at - block.start]]
            if len(part):
                parts.append(part)
                size += len(part)
            place += 1
        return sizes, parts, tuple(fds), at

    def ended(self, start: int, stop: int) -> None:
        """These inputs have their outcome: a block that is wholly through is let go."""
        place = bisect_right(self._starts, start) - 1
        while place >= 0 and place < len(self._blocks) and self._starts[place] < stop:
            block = self._blocks[place]
            block.left -= min(stop, block.start + len(block.sizes)) - max(start, block.start)
            if block.left <= 0:
                self._let_go(block)
            place += 1

    def close(self) -> None:
        """Lets go of everything."""
        for block in self._blocks:
            self._let_go(block)
        self._blocks, self._starts = [], []

    def _let_go(self, block: _Block) -> None:
        for fd in block.fds:
            os.close(fd)
        self.bytes -= len(block.payload)
        block.payload, block.fds = memoryview(b""), ()


def _inline(size: Any) -> int:
    if type(size) is int:
        return size
    return sum(size) if type(size) is list else 0


def _fits(size: Any, fds: int) -> bool:
    if type(size) is dict:
        return type(size.get("f")) is int and 0 <= size["f"] < fds
    return type(size) is list or (type(size) is int and size >= 0)


def _renumbered(size: Any, have: tuple[int, ...], fds: list[int]) -> Any:
    if type(size) is not dict:
        return size
    fds.append(have[size["f"]])
    return {**size, "f": len(fds) - 1}
