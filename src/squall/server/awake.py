"""Awake: keeps the server's loop looking for a moment after it gave out work, instead of sleeping at once."""

from __future__ import annotations

import asyncio

LOOK_S = 0.000_3


class Awake:
    """Looks again and again for LOOK_S after each `touch`, as a network card that is polled does.

    A short call is back before that. Waking a processor that sleeps costs more than the call itself, on virtual
    machines most of all, and one processor that is awake keeps the others of its call from being halted between hops.
    Longer work costs LOOK_S of one processor for each lease, and no more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._until_s = 0.0
        self._looking = False

    def touch(self) -> None:
        """Work was given out: its outcome may be here in a moment."""
        self._until_s = self._loop.time() + LOOK_S
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        if self._loop.time() < self._until_s:
            self._loop.call_soon(self._look)
        else:
            self._looking = False
