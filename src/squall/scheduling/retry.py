"""Retry: whether and when an input stands in line again."""

from __future__ import annotations

from zlib import crc32

from squall.model.function import Retries

MOST_LOSSES = 8
SPREAD = 0.25
"""By how much of a delay it may be longer, so that inputs that failed together do not come back together."""


def delay_after_raise_s(policy: Retries | None, *, raised: int, of: str) -> float | None:
    """Seconds until an input whose function raised for the `raised`-th time is tried again; None: it has ended.

    raised is counted from 1. of: the input's id, which spreads the delays: the same one always waits as long. Raises
    ValueError below 1.
    """
    if raised < 1:
        raise ValueError(f"raises are counted from 1, not {raised}")
    if policy is None or raised > policy.max_retries:
        return None
    delay_s = policy.initial_delay * policy.backoff_coefficient ** min(raised - 1, 63)
    return min(policy.max_delay, delay_s * (1 + SPREAD * crc32(of.encode()) / 2**32))


def runs_again_after_loss(*, losses: int, most: int = MOST_LOSSES) -> bool:
    """Whether an input whose container was lost `losses` times, of at most so many, runs again; not charged to the user's retries."""
    return losses <= most


def runs_again_after_kill(*, kills: int) -> bool:
    """Whether an input that was in hand when its container broke a limit runs again: once, alone."""
    return kills <= 1
