"""Starts: how long containers of a function take to be ready, as seen."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """Means of the last starts, each weighing half of the one after it; None: none seen yet.

    wall_s: seconds from the wish to ready. core_s: the seconds of one core that a start takes, were it nothing but work:
    what the wall showed, shared among those that started at the same time.
    """

    wall_s: float | None = None
    core_s: float | None = None

    def seen(self, *, seconds: float, beside: int, cores: int) -> Starts:
        """The means after a start that took so long; beside: how many were starting when it began, itself included.

        What is no duration is passed over.
        """
        if not 0 <= seconds < inf:
            return self
        core_s = seconds / max(1.0, beside / max(1, cores))
        return Starts(wall_s=_half_way(self.wall_s, seconds), core_s=_half_way(self.core_s, core_s))


def _half_way(mean: float | None, seen: float) -> float:
    return seen if mean is None else (mean + seen) / 2
