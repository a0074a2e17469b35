"""Lanes: changes of Dicts and Queues sent so that each is made once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from squall.context.fresh import fresh_id
from squall.model.errors import ChannelClosed, ConnectionLost, DeserializationError, Error, StoreClosed
from squall.model.ids import LANE
from squall.sdk.client import Client
from squall.wire.codec import Buffer, Frame

T = TypeVar("T")

_AGAIN_S: Final = 0.05
"""How long a server that stops is left alone before it, or the next one, is asked again."""


class Lane:
    """One change at a time, each with the next number. What is sent again under its number is answered as it was."""

    __slots__ = ("id", "number")

    def __init__(self) -> None:
        self.id = fresh_id(LANE)
        self.number = 0

    def head(self) -> dict[str, Any]:
        """What says which change this is."""
        return {"lane": self.id, "no": self.number}


class Lanes:
    """The lanes of this process: as many as it has had changes on their way at once."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._free: list[Lane] = []
        self._giving_back: set[asyncio.Task[None]] = set()

    @staticmethod
    def here() -> Lanes:
        """Those of this process. A fork gets its own, or two processes would give the same numbers to different changes."""
        global _here  # noqa: PLW0603 - as for the client
        if _here is None or _here._pid != os.getpid():
            _here = Lanes()
        return _here

    @contextlib.contextmanager
    def lane(self) -> Iterator[Lane]:
        """A lane that nobody else uses meanwhile, at its next number."""
        lane = self._free.pop() if self._free else Lane()
        lane.number += 1
        try:
            yield lane
        except (ConnectionLost, DeserializationError):
            raise
        except Error:
            self._free.append(lane)
            raise
        # One that was left by another exception is not used again: its change may still be on its way.
        self._free.append(lane)

    def give_back(self, lane: Lane, head: dict[str, Any]) -> None:
        """Who waited for items does not any more: what was taken for it goes back, in the background."""
        work = asyncio.ensure_future(_given_back({**head, **lane.head()}))
        self._giving_back.add(work)
        work.add_done_callback(self._giving_back.discard)


async def ask(name: str, head: dict[str, Any], *payload: Buffer, wait_s: float | None = 0) -> Frame:
    """The answer to a question that may be asked twice; on a connection that breaks it is asked again.

    wait_s: how long the server may wait before it answers, None for ever; asked again, for what is left of that. Raises what
    the server answers, ConnectionLost when no connection can be made.
    """
    until_s = None if wait_s is None else time.monotonic() + wait_s
    client = Client.here()
    while True:
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        session = await client.session()
        try:
            return await session.ask(name, {**head, "wait": left_s}, *payload)
        except (ConnectionLost, ChannelClosed):
            continue
        except StoreClosed:
            await asyncio.sleep(_AGAIN_S)


async def change(name: str, head: dict[str, Any], *payload: Buffer, wait_s: float | None = 0) -> Frame:
    """The answer to a change, which is made once, however often it is sent. Raises as `ask` does."""
    with Lanes.here().lane() as lane:
        return await ask(name, {**head, **lane.head()}, *payload, wait_s=wait_s)


async def take(head: dict[str, Any], read: Callable[[Frame], T], *, wait_s: float | None) -> T:
    """What `read` makes of items taken from a Queue. Cancelled, and where they cannot be read, they stay in the Queue."""
    lanes = Lanes.here()
    with lanes.lane() as lane:
        try:
            return read(await ask("queue.get", {**head, **lane.head()}, wait_s=wait_s))
        except (asyncio.CancelledError, DeserializationError):
            lanes.give_back(lane, head)
            raise


async def _given_back(head: dict[str, Any]) -> None:
    # Where this fails, the server is gone for good, or the Queue is.
    with contextlib.suppress(Error, OSError):
        await ask("queue.back", head)


_here: Lanes | None = None
