"""Items: what a generator function yields in its container, one by one, as its consumer takes them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from squall.context.fresh import fresh_id
from squall.model.call import Verb
from squall.model.errors import ConnectionLost, Error, InputLost
from squall.model.ids import CALL
from squall.sdk.boundary import boundary
from squall.sdk.calls import Packed, Target, parent
from squall.sdk.client import post
from squall.sdk.outcome import Failure, outcomes_in, value_of
from squall.wire.codec import Frame, Kind
from squall.wire.session import GONE, Session
from squall.wire.stream import Stream

CREDIT = 32


class ItemCall:
    """A generator's call: items come as the consumer takes them, CREDIT at most ahead of it."""

    rank = 1

    def __init__(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.id = fresh_id(CALL)
        self.on_ready: Callable[[], object] = lambda: None
        self._target = target
        self._packed = Packed(target, args, kwargs)
        self._parent = parent()
        self._stream: Stream | None = None
        self._sent = False
        self._ready = threading.Condition()
        self._items: deque[Any] = deque()
        self._ended = False
        self._seen = 0
        self._taken = 0

    # -- the consumer's side

    def take(self, *, wait: bool = True) -> tuple[bool, Any] | None:
        """The next item, as (True, item), or (False, None) at the end. Raises what the generator raised.

        wait: whether to block until there is one; without it, None says that there is none yet.
        """
        with self._ready:
            while wait and not self._items and not self._ended:
                self._ready.wait()
            if not self._items:
                return (False, None) if self._ended else None
            item = self._items.popleft()
        self._taken += 1
        if self._taken % (CREDIT // 2) == 0:
            post(self._credit)
        if type(item) is Failure:
            raise item.error
        return True, item

    # -- on the loop

    def start(self) -> None:
        """Sends it; on the client's loop."""
        self._target.client.add(self)

    def cancel(self) -> None:
        """The consumer has gone; on the client's loop."""
        if self._stream is not None:
            self._stream.cancel()
        self._end()

    def attach(self, session: Session) -> None:
        """See Lasting. What had begun to yield is not begun again: items would come twice."""
        if self._seen:
            self.give_up(ConnectionLost("the connection broke after the generator had begun to yield"))
            return
        head: dict[str, Any] = {
            "call": self.id,
            "verb": Verb.REMOTE,
            **self._target.head,
            "d": [self._packed.size],
        }
        head |= self._parent | ({"again": 1} if self._sent else {})
        self._sent = True
        try:
            self._stream = session.open(
                "call", head, *self._packed.buffers, fds=self._packed.fds, on_frame=self._on_frame
            )
            self._stream.credit(CREDIT)
        except GONE:
            raise
        except Error as error:
            self.give_up(error)

    def give_up(self, error: Error) -> None:
        """See Lasting."""
        self._put(Failure(error))
        self._end()

    def _credit(self) -> None:
        if self._stream is not None and self._stream.live:
            self._stream.credit(CREDIT // 2)

    def _on_frame(self, frame: Frame) -> None:
        head = frame.head()
        if frame.kind is Kind.FAIL:
            error = Error.from_wire(head)
            if not isinstance(error, ConnectionLost):
                self.give_up(error)
            return
        if "item" in head and head["item"] != self._seen:
            self._miss(head["item"])
        elif "item" in head:
            self._seen += 1
            self._put(_item(frame, head["d"]))
        elif "o" in head:
            for _index, value in outcomes_in(frame, head["o"], root=self._target.root):
                if type(value) is Failure:
                    self._put(value)
                elif value != self._seen:
                    self._miss(value)
        if frame.kind is Kind.END:
            self._end()

    def _miss(self, number: int) -> None:
        """A server that ended has taken items with it: the consumer must not take those that follow for all of them."""
        if self._ended:
            return
        lost = f"item {number} of the generator came after {self._seen} items: others were lost with a server"
        self.give_up(InputLost(lost))
        if self._stream is not None:
            self._stream.cancel()

    def _put(self, item: Any) -> None:
        with self._ready:
            self._items.append(item)
            self._ready.notify()
        self.on_ready()

    def _end(self) -> None:
        self._target.client.remove(self)
        self._packed.close()
        with self._ready:
            self._ended = True
            self._ready.notify_all()
        self.on_ready()


@boundary("remote_gen")
def items(call: ItemCall) -> Iterator[Any]:
    """The items of a call, waited for; closing the iterator ends the generator."""
    post(call.start)
    try:
        while (got := call.take()) is not None and got[0]:
            yield got[1]
    finally:
        post(call.cancel)


@boundary("remote_gen")
async def items_async(call: ItemCall) -> AsyncIterator[Any]:
    """The same, awaited on the caller's own loop."""
    some = asyncio.Event()
    loop = asyncio.get_running_loop()
    call.on_ready = lambda: loop.call_soon_threadsafe(some.set)
    post(call.start)
    try:
        while True:
            some.clear()
            got = call.take(wait=False)
            if got is None:
                await some.wait()
            elif got[0]:
                yield got[1]
            else:
                return
    finally:
        call.on_ready = lambda: None
        post(call.cancel)


def _item(frame: Frame, size: Any) -> Any:
    fds = frame.take_fds()
    try:
        return value_of(size, memoryview(frame.payload), fds)
    except Error as error:
        return Failure(error)
    finally:
        for fd in fds:
            os.close(fd)
