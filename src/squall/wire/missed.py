"""Missed: ids of streams below the highest that have not come yet, because what was sent with them is on its way."""

from __future__ import annotations

import bisect
from typing import Final

# As many streams as may live at once on a route; of a peer that leaves out more, the oldest are forgotten.
_MOST_SPANS: Final = 4096


class Missed:
    """Ids of one side, every other number, that were passed over."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        # Spans, ascending: a peer that leaves out a million ids at once costs no more than one that leaves out one.
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __contains__(self, stream: int) -> bool:
        at = bisect.bisect_right(self._firsts, stream) - 1
        return at >= 0 and stream <= self._lasts[at] and not (stream - self._firsts[at]) % 2

    def pass_over(self, first: int, last: int) -> None:
        """`first` to `last`, which are above all others, have not come."""
        self._firsts.append(first)
        self._lasts.append(last)
        if len(self._firsts) > _MOST_SPANS:
            del self._firsts[0], self._lasts[0]

    def come(self, stream: int) -> None:
        """`stream`, one of them, has come."""
        at = bisect.bisect_right(self._firsts, stream) - 1
        first, last = self._firsts[at], self._lasts[at]
        left = [(first, stream - 2), (stream + 2, last)]
        spans = [(start, stop) for start, stop in left if start <= stop]
        self._firsts[at : at + 1] = [start for start, _ in spans]
        self._lasts[at : at + 1] = [stop for _, stop in spans]
        if len(self._firsts) > _MOST_SPANS:
            del self._firsts[0], self._lasts[0]
