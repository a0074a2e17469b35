"""Awake: keeps the server's loop looking for a moment after it gave out work, instead of sleeping at once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

LOOK_S = 0.001
AWAY_S = 0.002
REST_S = 0.05
# Not every system has it.
_YIELD: Callable[[], object] = getattr(os, "sched_yield", int)


class Awake:
    """Looks again and again for LOOK_S after each `touch`, as a network card that is polled does.

    A short call is back before that. Waking a processor that sleeps costs more than the call itself, on virtual
    machines most of all, and one processor that is awake keeps the others of its call from being halted between hops.
    Longer work costs LOOK_S of one processor for each lease, and no more.

    Between two looks it gives way to who waits for this processor: often the next hop of the very call. Whoever then
    keeps it for longer than AWAY_S is other work, beside which no processor sleeps: for REST_S nothing is gained by
    looking. clock: seconds; not the loop's, which uvloop counts in whole milliseconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.monotonic,
        give_way: Callable[[], object] = _YIELD,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._give_way = give_way
        self._until_s = 0.0
        self._resting_until_s = 0.0
        self._looking = False

    def touch(self) -> None:
        """Work was given out: its outcome may be here in a moment."""
        now = self._clock()
        if now < self._resting_until_s:
            return
        self._until_s = now + LOOK_S
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        before = self._clock()
        if before < self._until_s:
            self._give_way()
            after = self._clock()
            if after - before < AWAY_S:
                self._loop.call_soon(self._look)
                return
            self._resting_until_s = after + REST_S
        self._looking = False
