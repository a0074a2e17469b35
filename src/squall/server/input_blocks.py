"""Input blocks: the packed inputs of a call, kept as they came until their outcomes are in."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from squall.server.sizes import inline, measure
from squall.wire.codec import Buffer

MOST_FDS = 6
MOST_BYTES = 2 * 1024 * 1024


@dataclass(slots=True)
class Block:
    """Inputs that came in one frame. offsets: where each begins in the payload, and where the last one ends."""

    start: int
    sizes: list[Any]
    offsets: list[int]
    payload: memoryview
    fds: tuple[int, ...]
    left: int

    @classmethod
    def read(cls, start: int, sizes: Any, payload: Buffer, *, fds: int) -> Block:
        """A block of inputs from `start` on, its descriptors still to come.

        Raises ValueError when the sizes do not add up to the payload, or name descriptors that are not there.
        """
        if measure(sizes, fds=fds) != len(payload):
            raise ValueError("the sizes of the inputs do not add up to what was sent")
        offsets = list(accumulate(map(inline, sizes), initial=0))
        return cls(start, sizes, offsets, memoryview(payload), (), len(sizes))

    def without(self, known: int) -> Block:
        """The same without its first `known` inputs."""
        if not known:
            return self
        sizes, first = self.sizes[known:], self.offsets[known]
        offsets = [at - first for at in self.offsets[known:]]
        return Block(self.start + known, sizes, offsets, self.payload[first:], self.fds, len(sizes))


@dataclass(slots=True)
class Cut:
    """What one frame to a container carries: its descriptors stay owned by the blocks; stop: the index after the last."""

    sizes: list[Any]
    parts: list[memoryview]
    fds: list[int]
    stop: int
    size: int = 0


class InputBlocks:
    """The inputs of one call by index; `bytes` of payload are held."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._starts: list[int] = []
        self.bytes = 0

    def add(self, block: Block, fds: tuple[int, ...]) -> None:
        """Takes a block, which follows those before it, and its descriptors over."""
        block.fds = fds
        self._blocks.append(block)
        self._starts.append(block.start)
        self.bytes += len(block.payload)

    def cut(self, start: int, stop: int) -> Cut:
        """Inputs from `start` on, at most to `stop`: fewer where the descriptors or the bytes of one frame run out.

        At least one is given, however large.
        """
        cut = Cut([], [], [], start)
        place = bisect_right(self._starts, start) - 1
        while cut.stop < stop and place < len(self._blocks):
            block = self._blocks[place]
            high = _last_that_fits(block, cut, stop)
            if block.fds:
                for size in block.sizes[cut.stop - block.start : high - block.start]:
                    cut.sizes.append(_renumbered(size, block.fds, cut.fds))
            else:
                cut.sizes += block.sizes[cut.stop - block.start : high - block.start]
            part = block.payload[block.offsets[cut.stop - block.start] : block.offsets[high - block.start]]
            if len(part):
                cut.parts.append(part)
                cut.size += len(part)
            cut.stop = high
            if high < min(stop, block.start + len(block.sizes)):
                break
            place += 1
        return cut

    def ended(self, start: int, stop: int) -> int:
        """These inputs have their outcome; a block that is wholly through is let go. How many bytes went."""
        before = self.bytes
        place = max(0, bisect_right(self._starts, start) - 1)
        while place < len(self._blocks) and self._starts[place] < stop:
            block = self._blocks[place]
            block.left -= max(0, min(stop, block.start + len(block.sizes)) - max(start, block.start))
            if block.left <= 0:
                self._let_go(block)
            place += 1
        return before - self.bytes

    def close(self) -> int:
        """Lets go of everything. How many bytes went."""
        before = self.bytes
        for block in self._blocks:
            self._let_go(block)
        self._blocks, self._starts = [], []
        return before - self.bytes

    def _let_go(self, block: Block) -> None:
        for fd in block.fds:
            os.close(fd)
        self.bytes -= len(block.payload)
        block.payload, block.fds = memoryview(b""), ()


def _last_that_fits(block: Block, cut: Cut, stop: int) -> int:
    """The index up to which a block's inputs still fit into the frame."""
    low = cut.stop - block.start
    high = min(stop - block.start, len(block.sizes))
    room = block.offsets[low] + MOST_BYTES - cut.size
    if block.offsets[high] > room:
        high = max(bisect_right(block.offsets, room) - 1, low + (not cut.sizes))
    if block.fds:
        free = MOST_FDS - len(cut.fds)
        for at in range(low, high):
            if type(block.sizes[at]) is dict:
                if not free:
                    return block.start + at
                free -= 1
    return block.start + high


def _renumbered(size: Any, have: tuple[int, ...], fds: list[int]) -> Any:
    if type(size) is not dict:
        return size
    fds.append(have[size["f"]])
    return {**size, "f": len(fds) - 1}
