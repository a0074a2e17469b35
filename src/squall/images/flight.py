"""Flight: one piece of work that several callers wait for, all of them hearing how it goes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from squall.model.errors import Error

T = TypeVar("T")
Say = Callable[[str], None]

_REPLAYED_LINES: Final = 200


class Flight(Generic[T]):
    """Work that starts once and ends with its last follower: when all of them have gone, it is cancelled.

    on_end hears of it as soon as nobody else may join.
    """

    def __init__(
        self, start: Callable[[Say], Coroutine[Any, Any, T]], *, on_end: Callable[[Flight[T]], object]
    ) -> None:
        self._followers: list[Say] = []
        self._deaf: list[Say] = []
        self._said: deque[str] = deque(maxlen=_REPLAYED_LINES)
        self._on_end = on_end
        self._task = asyncio.create_task(self._carry_out(start))

    async def follow(self, say: Say) -> T:
        """What the work gives, or raises; `say` hears its last lines and all that come."""
        for line in self._said:
            say(line)
        self._followers.append(say)
        try:
            return await asyncio.shield(self._task)
        finally:
            (self._followers if say in self._followers else self._deaf).remove(say)
            if not self._followers and not self._deaf and not self._task.done():
                self._on_end(self)  # whoever comes now starts anew
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _carry_out(self, start: Callable[[Say], Coroutine[Any, Any, T]]) -> T:
        try:
            return await start(self._tell)
        finally:
            self._on_end(self)

    def _tell(self, line: str) -> None:
        self._said.append(line)
        for say in tuple(self._followers):
            try:
                say(line)
            except Error:
                # Its connection is gone, which it will notice itself; the others must not suffer for it.
                self._deaf.append(say)
                self._followers.remove(say)
