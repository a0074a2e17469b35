"""Fresh ids: the clock and the randomness behind `model.ids`."""

from __future__ import annotations

import os
import time

from squall.model.ids import make_id


def fresh_id(prefix: str) -> str:
    """A new id of this kind, from now and the system's randomness."""
    return make_id(prefix, now_ms=time.time_ns() // 1_000_000, randomness=os.urandom(10))
