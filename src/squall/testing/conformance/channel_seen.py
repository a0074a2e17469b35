"""What is seen of a channel: its frames and its end, for the checks that every channel must pass."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from typing import Final

from squall.wire.channel import Channel
from squall.wire.codec import Frame

Check = Callable[[Channel, Channel], Awaitable[None]]

PATIENCE_S: Final = 20.0


class Seen:
    """What one end of a channel sees; it starts that end. also: called with each frame, after it was noted."""

    def __init__(self, channel: Channel, also: Callable[[Frame], object] | None = None) -> None:
        self.frames: list[Frame] = []
        self.ends = 0
        self._also = also
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        channel.start(self._on_frame, self._on_close)

    async def until(self, count: int) -> None:
        """Wait for `count` frames in all."""
        await self._until(lambda: len(self.frames) >= count)

    async def end(self) -> Exception | None:
        """Wait for the end, and say what on_close was given."""
        await self._until(lambda: self.ends > 0)
        return self._error

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    def _on_frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._changed.set()
        if self._also is not None:
            self._also(frame)

    def _on_close(self, error: Exception | None) -> None:
        self.ends += 1
        self._error = error
        self._changed.set()


def opened(end: int) -> Callable[[], int]:
    """Gives how many descriptors of this process lead to what `end` leads to, without those of objects that are garbage.

    Also when `end` itself is closed by then. Descriptors of anything else do not count: other threads have theirs.
    """
    what = os.fstat(end)

    def count() -> int:
        gc.collect()
        return sum(_leads_to(int(name), what) for name in os.listdir("/dev/fd"))

    return count


def _leads_to(end: int, what: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(end), what)
    except OSError:
        return False  # the one that listed them, or another thread's, which has ended since
