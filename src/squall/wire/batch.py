"""The batch: what the frames of one read cause to be sent leaves together, one write a connection."""

from __future__ import annotations

import asyncio
import weakref
from typing import Final, Protocol


class Writer(Protocol):
    """Something that keeps what it has to write while a batch is open."""

    def flush(self) -> None:
        """Write it now."""
        ...


class Batch:
    """One for an event loop: open while frames that arrived together are handled.

    A frame that arrives alone opens none, so that a single call waits for nothing. A batch stays open until the tasks
    that its frames have woken have run, since what they send belongs to it.
    """

    __slots__ = ("_begun", "_loop", "_waiting", "open")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak: the registry below keeps this for as long as the loop lives.
        self._loop = weakref.ref(loop)
        self._begun = 0
        self._waiting: list[Writer] = []
        self.open = False

    def begin(self) -> None:
        """Open it: frames that arrived together are about to be handled."""
        self._begun += 1
        self.open = True

    def handled(self) -> None:
        """The frames are handled: write what they caused, and end behind the tasks that they woke."""
        self.flush()
        loop = self._loop()
        if loop is not None:
            loop.call_soon(self._end)

    def add(self, writer: Writer) -> None:
        """Have `writer` write when the batch ends."""
        self._waiting.append(writer)

    def flush(self) -> None:
        """Have everything written now."""
        waiting, self._waiting = self._waiting, []
        for writer in waiting:
            writer.flush()

    def _end(self) -> None:
        self._begun -= 1
        if not self._begun:
            self.open = False
        self.flush()


_batches: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Batch]] = weakref.WeakKeyDictionary()


def batch_of(loop: asyncio.AbstractEventLoop) -> Batch:
    """The batch of `loop`."""
    batch = _batches.get(loop)
    if batch is None:
        batch = _batches[loop] = Batch(loop)
    return batch
