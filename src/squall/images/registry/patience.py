"""Patience: how long a registry is waited for, and when it is asked again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})  # what a registry may answer and mean "not now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Bounds on waiting. All in seconds, but for tries (how often something is asked, at least 1) and slowest.

    connect_s: to find the host and make the connection. answer_s: for the head of an answer, and for the whole of a
    small one. silence_s: between two parts of a blob. slowest: bytes a second, over any window_s spent waiting for a
    blob. first_pause_s doubles with each try up to longest_pause_s; a registry that asks for a longer pause than
    that is not waited for.
    """

    tries: int = 5
    connect_s: float = 20.0
    answer_s: float = 120.0
    silence_s: float = 30.0
    slowest: int = 1_024
    window_s: float = 60.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0

    def pause_s(self, tried: int, *, asked_s: float | None, drawn: float) -> float:
        """Seconds to wait after `tried` tries (the first is 1). asked_s: what the registry asked for.

        drawn: a random number from 0 to 1, which spreads those who failed at the same moment.
        """
        doubled = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(tried - 1, 32))
        jittered = doubled * (0.5 + drawn / 2)
        return jittered if asked_s is None else asked_s + min(jittered, self.first_pause_s)


class Pace:
    """Whether a body comes fast enough. Only time spent waiting for it counts: who reads may take its time."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._waited_s = 0.0
        self._came = 0

    def took(self, waited_s: float, came: int) -> bool:
        """Whether it still is, after `came` more bytes that were waited for so long."""
        self._waited_s += waited_s
        self._came += came
        if self._waited_s < self._patience.window_s:
            return True
        fast = self._came >= self._patience.slowest * self._waited_s
        self._waited_s, self._came = 0.0, 0
        return fast
