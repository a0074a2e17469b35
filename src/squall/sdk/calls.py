"""Calls: one input, and what the client holds until its outcome is in."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from squall.context.current import current_input
from squall.context.fresh import fresh_id
from squall.model.call import Verb
from squall.model.errors import ConnectionLost, Error, RequestSizeError, TooManyInputs
from squall.model.ids import CALL, CallId, input_id
from squall.sdk.client import Client, post as loop_post
from squall.sdk.outcome import Failure, outcomes_in
from squall.sdk.patience import Patience
from squall.wire import payload
from squall.wire.codec import Frame, Kind, write_head
from squall.wire.lent import LentFile
from squall.wire.session import GONE, Session
from squall.wire.stream import Stream

Input = tuple[tuple[Any, ...], dict[str, Any]]
# No limit of values is set below this.
INLINE_SURELY = 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """Where calls of one function go: its id, the local root of its source, and what stands for `__main__` there.

    method: of a class, which is called; each input names it before its own arguments. values: of a class, what its object
    is made with, where that is not what it has by itself.
    """

    function: str
    root: str | None
    main: str | None
    method: str = ""
    values: dict[str, Any] | None = None

    @property
    def head(self) -> dict[str, Any]:
        """What each call says of it."""
        if self.values is None:
            return {"fn": self.function}
        return {"fn": self.function, "with": self.values}

    def inputs(self, batch: list[Input]) -> list[Input]:
        """The same inputs as they travel."""
        method = self.method
        return [((method, *args), kwargs) for args, kwargs in batch] if method else batch

    @property
    def client(self) -> Client:
        """The client of this very process: a forked child has its own."""
        return Client.here()


class Packed:
    """The packed arguments of one input: a size as the wire says it, buffers, descriptors.

    lent: the caller waits for the outcome, and lets the memory of its values be until then; else it is copied.
    again: large values go into a file that may be filled again, once its reader has let go (`give_back`).
    """

    __slots__ = ("_file", "_target", "buffers", "bytes", "fds", "size")

    def __init__(
        self,
        target: Target,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        lent: bool = False,
        again: bool = False,
    ) -> None:
        if target.method:
            args = (target.method, *args)
        packed = payload.pack((args, kwargs), role="call", main=target.main)
        self._target = target
        self._file: LentFile | None = None
        self.fds: tuple[int, ...] = ()
        self.buffers: list[Any] = packed.buffers
        self.size: Any = packed.lengths[0] if len(packed.lengths) == 1 else packed.lengths
        total = self.bytes = packed.size
        if total > INLINE_SURELY and total > (largest := target.client.largest_value):
            raise RequestSizeError(f"the arguments have {total} bytes, and at most {largest} travel")
        if total > payload.MEMFD_FROM:
            self.size, self.buffers = {"f": 0, "l": packed.lengths}, []
            if again:
                self._file = target.client.lend(target.function, packed.buffers)
            if self._file is not None:
                self.fds = (self._file.fd,)
                self.size["r"] = 1
            else:
                self.fds = (payload.pack_to_memfd(packed),)
        elif not lent:
            self.buffers = [part if type(part) is bytes else bytes(part) for part in packed.buffers]

    def give_back(self) -> None:
        """The reader of a lent file has let go of it: the next call of the function may fill it; on the client's loop."""
        file, self._file = self._file, None
        if file is not None:
            self.fds = ()
            self._target.client.give_back(self._target.function, file)

    def close(self) -> None:
        """Lets go of the descriptors."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
        else:
            for fd in self.fds:
                os.close(fd)
        self.fds = ()


class OneCall:
    """One input in flight: sent, sent again on a new connection, done when its outcome is in.

    on_done is called on the client's loop, once.
    """

    rank = 1

    def __init__(
        self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any], *, lent: bool = False
    ) -> None:
        self.id = fresh_id(CALL)
        self._target = target
        self._packed = Packed(target, args, kwargs, lent=lent, again=True)
        self._parent = parent()
        self._stream: Stream | None = None
        self._attached = 0
        self._sent = False
        self._over = False
        self._patience: Patience | None = None
        self._printed = False
        self._answer: tuple[Frame, list[Any]] | None = None
        self._error: Error | None = None
        self.on_done: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Sends it; on the client's loop."""
        self._target.client.add(self)

    def carried(self) -> bool:
        """Whether it was sent and answered in this very thread; else it has to be started."""
        if self._packed.fds:
            # Memory that is lent comes back on the loop.
            return False
        client = self._target.client
        line = client.direct
        if line is None:
            return False
        header = write_head({"t": "call", **self._head()})
        answered = line.carry(header, self._packed.buffers, self._on_frame)
        if not answered:
            self._sent = answered is False
            return False
        if self._printed:
            client.catch_up()
        return True

    def attach(self, session: Session) -> None:
        """See Lasting."""
        self._attached += 1
        head, self._sent = self._head(), True
        try:
            self._stream = session.open(
                "call", head, *self._packed.buffers, fds=self._packed.fds, on_frame=self._on_frame
            )
        except GONE:
            raise
        except Error as error:
            self.give_up(error)

    def give_up(self, error: Error) -> None:
        """See Lasting."""
        self._error = error
        self._finish()

    def cancel(self) -> None:
        """Nobody wants the outcome any more; on the client's loop."""
        self._over = True
        if self._stream is not None:
            self._stream.cancel()
        self._target.client.remove(self)
        self._packed.close()

    def result(self) -> Any:
        """The value, once `on_done` has been called. Raises what the function raised, or what went wrong."""
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        frame, head = self._answer
        self._answer = None
        ((_index, value),) = outcomes_in(frame, head, root=self._target.root)
        if type(value) is Failure:
            raise value.error
        return value

    def _head(self) -> dict[str, Any]:
        head: dict[str, Any] = {
            "call": self.id,
            "fn": self._target.function,
            "verb": Verb.REMOTE,
            "d": [self._packed.size],
        }
        if self._target.values is not None:
            head["with"] = self._target.values
        if self._sent:
            # It may have begun: a server that does not know it must not have it begin twice where that is asked for.
            head["again"] = 1
        return head | self._parent if self._parent else head

    def _on_frame(self, frame: Frame) -> None:
        kind = frame.kind
        if kind is Kind.FAIL:
            error = Error.from_wire(frame.head())
            if isinstance(error, ConnectionLost) or self._waits_for_room(error):
                return
            self.give_up(error)
        elif kind is Kind.END or kind is Kind.DATA:
            known = frame.head()
            head = known.get("o")
            self._printed = "p" in known
            if "u" in known and self._attached == 1:
                # Sent once, and its one reader has let go: before the caller is awake, who may call again at once.
                self._packed.give_back()
            if head is not None:
                kept = Frame(frame.kind, payload=frame.payload, fds=frame.take_fds())
                self._answer = (kept, head)
            if kind is Kind.END:
                self._finish()

    def _waits_for_room(self, error: Error) -> bool:
        """Whether it was refused for want of room, and is sent again later; on the client's loop."""
        if not isinstance(error, TooManyInputs) or self._stream is None:
            return False
        self._patience = self._patience or Patience()
        loop, refused = asyncio.get_running_loop(), self._stream
        delay_s = self._patience.delay_s(error, loop.time())
        if delay_s is None:
            return False
        # Nothing of it was taken.
        self._sent = False
        loop.call_later(delay_s, self._send_again, refused)
        return True

    def _send_again(self, refused: Stream) -> None:
        # On a new connection it has been sent again already.
        if not self._over and self._stream is refused:
            self._target.client.add(self)

    def _finish(self) -> None:
        self._over = True
        self._target.client.remove(self)
        self.on_done()
        # After the caller is awake: giving back the pages of a large value takes milliseconds.
        self._packed.close()


def call_blocking(target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One call, waited for in this thread; an interrupt cancels it."""
    call = OneCall(target, args, kwargs, lent=True)
    if call.carried():
        return call.result()
    done = threading.Lock()
    done.acquire()
    call.on_done = done.release
    loop_post(call.start)
    try:
        done.acquire()
    except BaseException:
        loop_post(call.cancel)
        raise
    return call.result()


async def call_async(target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One call, awaited on the caller's own loop; cancelling the task cancels it."""
    call = OneCall(target, args, kwargs)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    call.on_done = lambda: loop.call_soon_threadsafe(_set, done)
    loop_post(call.start)
    try:
        await done
    except asyncio.CancelledError:
        loop_post(call.cancel)
        raise
    return call.result()


def parent() -> dict[str, str]:
    """What a call says of the input that makes it, inside a container."""
    here = current_input.get()
    return {} if here is None else {"parent": input_id(CallId(here.call), here.index)}


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
