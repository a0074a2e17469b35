"""Credits: how many items the consumers of generators take, of calls that a container works on side by side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

MOST_CREDITED = 1024


class Credits:
    """What each call may yield in all; the link's thread adds, threads and tasks wait."""

    def __init__(self) -> None:
        self._items: dict[str, int] = {}
        self._changed = threading.Condition()
        self._tasks: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def add(self, call: str, items: int, upto: int | None) -> None:
        """The consumer takes this many more. upto: in all, which makes good what was lost on its way."""
        with self._changed:
            known = self._items.get(call, 0)
            self._items[call] = known + items if upto is None else max(known, upto)
            while len(self._items) > MOST_CREDITED:
                # Of a call that has ended: what is said late of one is never asked for.
                del self._items[next(iter(self._items))]
        self.wake()

    def wake(self) -> None:
        """Whoever waits looks again."""
        with self._changed:
            self._changed.notify_all()
            waiting = tuple(self._tasks.items())
        for event, loop in waiting:
            loop.call_soon_threadsafe(event.set)

    def wait(self, call: str, count: int, give_up: Callable[[], bool]) -> None:
        """Returns when one more than `count` items may go, or `give_up` says so."""
        with self._changed:
            while self._items.get(call, 0) <= count and not give_up():
                self._changed.wait(60.0)

    async def awaited(self, call: str, count: int) -> None:
        """The same in a task, which is cancelled where it is to give up."""
        event = asyncio.Event()
        with self._changed:
            self._tasks[event] = asyncio.get_running_loop()
        try:
            while self._items.get(call, 0) <= count:
                await event.wait()
                event.clear()
        finally:
            with self._changed:
                del self._tasks[event]

    def drop(self, call: str) -> None:
        """Its generator has ended."""
        with self._changed:
            self._items.pop(call, None)
