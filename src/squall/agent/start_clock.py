"""Start clock: how long a start has waited on its machine, and for what, before its launcher was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from squall.agent.launcher_link import Message

LATE_S = 0.5
"""A start that takes longer tells the server what it waits for; a short one is told of once it is over."""


class StartClock:
    """One start. tell: an event to the server, of a start that is late."""

    def __init__(self, container: str, tell: Callable[[Message], None]) -> None:
        self._container = container
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._phase = ""
        self._since_s = self._loop.time()
        self._late = False
        self._timer = self._loop.call_later(LATE_S, self._is_late)
        self.waited_ms: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        """From now on it waits for this: "image", "launcher", "gpus", "network", "template", "sandbox"."""
        self.leave()
        self._phase = phase
        self._timer = self._loop.call_later(0.0 if self._late else LATE_S, self._is_late)

    def leave(self) -> None:
        """It waits for nothing more here."""
        self._timer.cancel()
        now_s = self._loop.time()
        if self._phase:
            self.waited_ms[self._phase] = round((now_s - self._since_s) * 1000, 3)
        self._phase, self._since_s = "", now_s

    def _is_late(self) -> None:
        self._late = True
        head: Message = {"t": "event", "event": "starting", "container": self._container}
        self._tell(head | {"waits_for": self._phase, "waited_ms": dict(self.waited_ms)})
