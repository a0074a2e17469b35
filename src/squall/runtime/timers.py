"""Timers: what a poll loop shall do at which time."""

import heapq
import itertools
from collections.abc import Callable


class Timers:
    """Callbacks in the order of their times, which are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when_s: float, do: Callable[[], None]) -> None:
        """Do `do` once, at `when_s` or soon after."""
        heapq.heappush(self._waiting, (when_s, next(self._order), do))

    def next_in(self, now_s: float) -> float | None:
        """Seconds until the first one is due, None where none waits."""
        return max(0.0, self._waiting[0][0] - now_s) if self._waiting else None

    def run_due(self, now_s: float) -> None:
        """Do whatever is due."""
        while self._waiting and self._waiting[0][0] <= now_s:
            heapq.heappop(self._waiting)[2]()
