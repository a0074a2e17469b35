"""Clock: virtual time, and what is to happen at which instant. Equal seeds give equal runs."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Timer:
    """Something that is to happen, unless it is cancelled."""

    callback: Callable[..., object]
    args: tuple[Any, ...] = ()
    cancelled: bool = False

    def cancel(self) -> None:
        """It does not happen."""
        self.cancelled = True


@dataclass(slots=True)
class Clock:
    """now_s: seconds since the run began. Of what falls on one instant, the first asked for comes first."""

    now_s: float = 0.0
    steps: int = 0
    _queue: list[tuple[float, int, Timer]] = field(default_factory=list)
    _asked: int = 0

    def read(self) -> float:
        """The instant, for parts that take a clock as a function."""
        return self.now_s

    def at(self, instant_s: float, callback: Callable[..., object], *args: object) -> Timer:
        """Has `callback(*args)` happen at an instant; one that is past means now."""
        timer = Timer(callback, args)
        self._asked += 1
        heapq.heappush(self._queue, (max(instant_s, self.now_s), self._asked, timer))
        return timer

    def later(self, delay_s: float, callback: Callable[..., object], *args: object) -> Timer:
        """Has `callback(*args)` happen after a delay."""
        return self.at(self.now_s + delay_s, callback, *args)

    def step(self) -> Timer | None:
        """Lets the next thing happen, time jumping to it; None when nothing is left."""
        while self._queue:
            instant_s, _, timer = heapq.heappop(self._queue)
            if timer.cancelled:
                continue
            self.now_s = instant_s
            self.steps += 1
            timer.callback(*timer.args)
            return timer
        return None
