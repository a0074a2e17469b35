"""Read ahead: the bytes of one object, asked for before they are wanted where it is read from front to back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from squall.blobs.buckets.bucket import Bucket, Object

_FIRST: Final = 256 * 1024
_MOST: Final = 8 << 20
_AHEAD: Final = 3  # ranges that are on their way at once
_RUN: Final = 2
_BEHIND: Final = 2 << 20  # the kernel asks for neighbours out of order


@dataclass(slots=True)
class _Range:
    start: int
    stop: int
    coming: asyncio.Task[bytes]


class ReadAhead:
    """The bytes of `known`, the object as it was when it was opened; at most some 32 MiB of them are held.

    What is read from front to back is asked for in ranges that double; anything else as it is asked for.
    """

    def __init__(self, bucket: Bucket, key: str, known: Object) -> None:
        self._bucket = bucket
        self._key = key
        self.known = known
        self._ranges: list[_Range] = []
        self._next = 0
        self._step = _FIRST
        # Reads that went on where the one before ended. Whoever begins at the front is taken to go on.
        self._run = 1

    def ready(self, offset: int, size: int) -> memoryview | None:
        """These bytes, where they are here already in one piece."""
        stop = min(offset + size, self.known.size)
        if stop <= offset:
            return memoryview(b"")
        found = self._range_at(offset)
        if found is None or found.stop < stop or not found.coming.done() or found.coming.cancelled():
            return None
        if found.coming.exception() is not None:
            return None
        self._went_on(stop)
        return memoryview(found.coming.result())[offset - found.start : stop - found.start]

    async def read(self, offset: int, size: int) -> bytes:
        """These bytes, fewer at the end of the object. Raises ObjectChangedError and the Bucket errors."""
        stop = min(offset + size, self.known.size)
        parts: list[memoryview] = []
        while offset < stop:
            found = self._range_at(offset) or self._begin(offset, stop)
            try:
                # Another reader may wait for the same: whoever gives up does not take it away from that one.
                data = await asyncio.shield(found.coming)
            except BaseException:
                if found.coming.done():
                    self._drop(found)
                raise
            here = memoryview(data)[offset - found.start : stop - found.start]
            if not here:
                break
            parts.append(here)
            offset += len(here)
            self._went_on(offset)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Nobody reads any more."""
        for one in self._ranges:
            one.coming.cancel()
        self._ranges.clear()

    def _range_at(self, offset: int) -> _Range | None:
        return next((one for one in self._ranges if one.start <= offset < one.stop), None)

    def _begin(self, offset: int, stop: int) -> _Range:
        """A range from here on: as large as it has become, where this goes on from before."""
        goes_on = abs(offset - self._next) <= _BEHIND and (self._next or offset == 0)
        if not goes_on:
            self._step = _FIRST
            self._next = offset
            self._run = 0
            if len(self._ranges) >= 2 * _AHEAD:
                self._drop(self._ranges[0])
        reach = self._step if goes_on else stop - offset
        return self._fetch(offset, max(stop, offset + reach))

    def _went_on(self, offset: int) -> None:
        """Everything before `offset` was read: asks for what comes next, lets go of what lies behind."""
        goes_on = 0 <= offset - self._next <= _MOST
        self._next = max(offset, self._next) if goes_on else offset
        for one in [one for one in self._ranges if one.stop < self._next - _BEHIND]:
            self._drop(one)
        self._run = self._run + 1 if goes_on else 0
        if self._run < _RUN:
            return
        here = self._range_at(min(offset, self.known.size) - 1)
        ahead = [one for one in self._ranges if one.start > offset]
        last = max(ahead, key=lambda one: one.stop, default=here)
        if last is None or len(ahead) >= _AHEAD or last.stop >= self.known.size:
            return
        if not ahead and last.stop - offset > self._step:
            return
        self._step = min(_MOST, 2 * self._step)
        self._fetch(last.stop, last.stop + self._step)

    def _fetch(self, start: int, stop: int) -> _Range:
        stop = min(stop, self.known.size)
        found = _Range(start, stop, _told(self._bucket.read(self._key, start, stop, self.known.etag)))
        self._ranges.append(found)
        return found

    def _drop(self, one: _Range) -> None:
        if one in self._ranges:
            self._ranges.remove(one)
        one.coming.cancel()


def _told(work: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
    """A task whose failure is no news where nobody waits for it: whoever does is told."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception() and None)
    return task
