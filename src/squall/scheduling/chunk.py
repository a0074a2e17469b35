"""Chunk: how many inputs a container is given at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

TARGET_S = 0.010
LEAST_S = 0.002
MOST = 1024
GROWTH = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """How long one input of a function takes, as seen so far; mean_s None: nothing seen yet."""

    mean_s: float | None = None
    last_chunk: int = 1

    def seen(self, *, seconds: float, inputs: int) -> Pace:
        """The pace after a chunk of this many inputs took this long.

        The mean moves half way to each observation: work changes from map to map, and an old figure
        that is too small would put slow inputs into one chunk. What is no duration is passed over.
        """
        if inputs < 1 or not 0 <= seconds < inf:
            return self
        each = seconds / inputs
        mean = each if self.mean_s is None else (self.mean_s + each) / 2
        return Pace(mean_s=mean, last_chunk=max(1, inputs))


def chunk_size(pace: Pace, *, waiting: int, containers: int) -> int:
    """How many of `waiting` inputs the next free container gets, at least 1.

    Aims at TARGET_S of work, grows at most GROWTH-fold a step, and leaves every container a share of what is
    waiting, so that the end of a map is spread over all of them; but work of less than LEAST_S is not spread
    further: carrying it costs more than doing it.
    """
    if pace.mean_s is None:
        return 1
    by_time = int(TARGET_S / max(pace.mean_s, 1e-7))
    by_share = -(-waiting // (2 * max(1, containers)))
    worth = int(LEAST_S / max(pace.mean_s, 1e-7))
    return max(1, min(by_time, max(by_share, worth), pace.last_chunk * GROWTH, MOST, waiting))


def may_prefetch(pace: Pace) -> bool:
    """Whether a container may hold a second chunk: only when inputs are so short that waiting for one costs more."""
    return pace.mean_s is not None and pace.mean_s < TARGET_S / 4
