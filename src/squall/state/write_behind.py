"""Write behind: rows that nobody waits for, gathered into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

FLUSH_S: Final = 0.05
BATCH_ROWS: Final = 500
MAX_ROWS: Final = 100_000  # held in memory at most: a disk that stops must not take the server with it


class WriteBehind(Generic[T]):
    """Gathers rows for at most FLUSH_S and sends them in batches of at most BATCH_ROWS.

    send: begins to record a batch, and gives when it ends. Rows beyond MAX_ROWS that are not recorded yet, and those
    whose batch failed, are dropped and counted in `lost`.
    """

    def __init__(self, send: Callable[[list[T]], asyncio.Future[None]]) -> None:
        self._send = send
        self._rows: list[T] = []
        self._sent: dict[asyncio.Future[None], int] = {}
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self.lost = 0

    def take(self, rows: Sequence[T]) -> None:
        """Takes rows, at once."""
        room = MAX_ROWS - self._held
        if len(rows) > room:
            self.lost += len(rows) - room
            rows = rows[:room]
        self._rows.extend(rows)
        self._held += len(rows)
        if len(self._rows) >= BATCH_ROWS:
            self.push()
        elif self._rows and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.push)

    def push(self) -> None:
        """Sends everything that was taken."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rows, self._rows = self._rows, []
        for start in range(0, len(rows), BATCH_ROWS):
            batch = rows[start : start + BATCH_ROWS]
            sent = self._send(batch)
            self._sent[sent] = len(batch)
            sent.add_done_callback(self._recorded)

    async def flush(self) -> None:
        """Returns when everything taken so far is recorded, or lost."""
        self.push()
        if self._sent:
            await asyncio.wait(list(self._sent))

    def _recorded(self, sent: asyncio.Future[None]) -> None:
        count = self._sent.pop(sent)
        self._held -= count
        if sent.cancelled() or sent.exception() is not None:
            self.lost += count
