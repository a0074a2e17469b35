"""Hang-ups: the ends of sockets that an event loop may keep to itself.

A peer that goes and has not read everything leaves an error on our socket. uvloop takes no further look at a descriptor with an
error, and tells nobody (libuv, `uv__poll_io`: it stops, and reports EBADF to a callback that ignores it): what the peer had said
before would not be read, and its end not be seen.
"""

from __future__ import annotations

import asyncio
import select
import weakref
from collections.abc import Callable
from typing import Final

from squall.wire.channel import report


class HangUps:
    """One for an event loop: tells once of each descriptor whose other side has gone, or on which an error is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak: the registry below keeps this for as long as the loop lives.
        self._loop = weakref.ref(loop)
        self._told: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._on_readable)

    def add(self, fd: int, told: Callable[[], None]) -> None:
        """Calls `told`, once, until `remove`, which comes before `fd` is closed."""
        self.remove(fd)
        # No events: ends and errors are told unasked.
        self._epoll.register(fd, 0)
        self._told[fd] = told

    def remove(self, fd: int) -> None:
        """Tells no more of it. Twice is once."""
        if self._told.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _on_readable(self) -> None:
        # One at a time: who is told may close another, whose number is then somebody else's.
        while found := self._epoll.poll(0, 1):
            ((fd, _events),) = found
            told = self._told[fd]
            # It stays as it is, and would be told of for ever.
            self.remove(fd)
            try:
                told()
            except Exception as error:  # noqa: BLE001 - whoever is told of one may fail, and not with the next
                loop = self._loop()
                if loop is not None:
                    report(loop, error)


_all: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, HangUps]] = weakref.WeakKeyDictionary()


def hang_ups_of(loop: asyncio.AbstractEventLoop) -> HangUps | None:
    """Those of `loop`; None where it tells of them itself, as asyncio's own loops do."""
    if isinstance(loop, asyncio.BaseEventLoop) or not hasattr(select, "epoll"):
        return None
    found = _all.get(loop)
    if found is None:
        found = _all[loop] = HangUps(loop)
    return found
