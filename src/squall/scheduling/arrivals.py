"""Arrivals: how fast inputs come, as an estimate that fades."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf

MEMORY_S = 10.0
LEAST_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """The inputs of a function that have arrived, each weighing e^(-age / MEMORY_S).

    weight: their sum as of the instant at_s; since_s: the instant of the first of them. An input counts once, when it
    is submitted: what is tried again, given back or sent again after a reconnect is no arrival.
    """

    weight: float = 0.0
    at_s: float = -inf
    since_s: float = -inf

    def seen(self, *, inputs: int, now_s: float) -> Arrivals:
        """The estimate after so many inputs have arrived at once. An instant before the last one counts as that one."""
        if inputs < 1:
            return self
        now_s = max(now_s, self.at_s)
        # After a silence that has let nothing of them, the first one is the first again.
        silent = now_s - self.at_s > 5 * MEMORY_S
        since_s = now_s if silent else self.since_s
        left = 0.0 if silent else self._left(now_s)
        return Arrivals(weight=left + inputs, at_s=now_s, since_s=since_s)

    def per_s(self, now_s: float) -> float:
        """Inputs a second, over the last MEMORY_S or for as long as they have been coming, but at least LEAST_S."""
        if self.weight <= 0:
            return 0.0
        now_s = max(now_s, self.at_s)
        watched_s = max(LEAST_S, now_s - self.since_s)
        return self._left(now_s) / (MEMORY_S * (1 - exp(-watched_s / MEMORY_S)))

    def _left(self, now_s: float) -> float:
        return self.weight * exp(-(now_s - self.at_s) / MEMORY_S)
