"""Acknowledging: idle containers hear what they need not send again, so that they can let go of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from squall.model.ids import ContainerId
from squall.server.records import Worker
from squall.server.telling import tell

ACK_S: Final = 1.0
"""How long outcomes of an idle container wait to be acknowledged; a busy one hears it with its next lease."""


class Acknowledging:
    """Containers to be told. later(delay_s, callback): a timer."""

    def __init__(self, later: Callable[..., object]) -> None:
        self._later = later
        self._waiting: dict[ContainerId, Worker] = {}
        self._runs = False

    def later(self, worker: Worker) -> None:
        """A container hears after ACK_S what it need not send again."""
        if worker.settled > worker.acknowledged:
            self._waiting[worker.id] = worker
            if not self._runs:
                self._runs = True
                self._later(ACK_S, self._tell)

    def _tell(self) -> None:
        self._runs = False
        waiting, self._waiting = self._waiting, {}
        for worker in waiting.values():
            if worker.settled > worker.acknowledged:
                worker.acknowledged = worker.settled
                tell(worker, {"t": "ack", "a": worker.acknowledged})
