"""Told: what is said of a bucket for people, once and not a thousand times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_AGAIN_S: Final = 30.0
_REMEMBERED: Final = 100


class Told:
    """Passes sentences on to `say`, each at most every half a minute."""

    def __init__(self, say: Callable[[str], None], now_s: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._now_s = now_s
        self._last: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        now_s = self._now_s()
        if now_s < self._last.get(text, -_AGAIN_S) + _AGAIN_S:
            return
        self._last.pop(text, None)
        self._last[text] = now_s
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        self._say(text)
