"""Patience: how long inputs that were refused for want of room wait before they are sent again."""

from __future__ import annotations

import os
from typing import Final

from squall.model.errors import Error, TooManyInputs
from squall.sdk.watch import watcher_now

MOST_S: Final = 600.0
"""After so long without any room, the refusal is the caller's."""
TOLD_AFTER_S: Final = 2.0


class Patience:
    """The waits of one call. Its user is told why once they have taken a while."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._told = False

    def delay_s(self, error: Error, now_s: float) -> float | None:
        """Seconds to wait before asking again, a little spread; None: the refusal is final. now_s: monotonic."""
        if not isinstance(error, TooManyInputs) or error.retry_after_s is None:
            return None
        if self._since_s is None:
            self._since_s = now_s
        waited_s = now_s - self._since_s
        if waited_s >= MOST_S:
            return None
        if waited_s >= TOLD_AFTER_S and not self._told:
            self._told = True
            watcher_now().note(f"inputs wait here for room at the server: {error.message}")
        spread = 0.75 + os.urandom(1)[0] / 510  # or all that were refused would come at once
        return min(float(error.retry_after_s) * spread, MOST_S - waited_s)

    def has_room(self) -> None:
        """They were taken: later waits are counted anew."""
        self._since_s, self._told = None, False
