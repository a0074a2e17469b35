"""Refusal: after how long who was refused may ask again, because by then there is probably room."""

from __future__ import annotations

from typing import Final

LEAST_S: Final = 0.1
MOST_S: Final = 30.0
UNKNOWN_S: Final = 1.0


def retry_after_s(*, excess: int, mean_s: float | None, containers: int) -> float:
    """Seconds until as many inputs as are too many have left the line, from 0.1 to 30.

    excess: how many are too many. mean_s: how long one takes, None where that is not known: then a second. containers: how
    many work on them.
    """
    if mean_s is None or containers < 1:
        return UNKNOWN_S
    return min(MOST_S, max(LEAST_S, excess * mean_s / containers))
