"""Maps: many inputs of one call, sent as they are taken up, outcomes in order or as they come."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from squall.context.fresh import fresh_id
from squall.model.call import Verb
from squall.model.errors import ConnectionLost, Error
from squall.model.ids import CALL
from squall.sdk.boundary import boundary
from squall.sdk.calls import Packed, Target, parent
from squall.sdk.client import post
from squall.sdk.inputs import Ahead, Input, collect
from squall.sdk.map_progress import begin_map
from squall.sdk.outcome import Failure, outcomes_in
from squall.sdk.patience import Patience
from squall.wire import payload
from squall.wire.codec import Frame, Kind
from squall.wire.session import GONE, Session
from squall.wire.stream import Stream

OUTSTANDING = 16_384
OUTSTANDING_BYTES = 64 * 2**20
OUTSTANDING_FDS = 16
"""Inputs that travel as sealed memory, which are large: as many may be on their way, whatever their size."""
BATCH = 1024
FIRST_WAIT_S = 0.003
GROWTH = 32
BATCH_BYTES = 1024 * 1024
ALONE_BYTES = 32 * 1024
FRAME_BYTES = 3 * 1024 * 1024


class _Sent:
    """Inputs that were sent together and are kept until all their outcomes are in; went: the server may have them."""

    __slots__ = ("fds", "parts", "sizes", "start", "went")

    def __init__(self, start: int, sizes: list[Any], parts: list[Any], fds: tuple[int, ...]) -> None:
        self.start, self.sizes, self.parts, self.fds = start, sizes, parts, fds
        self.went = False


class MapCall:
    """One map in flight. The consumer's thread packs inputs and unpacks outcomes; the loop only passes them on.

    on_ready is called, from any thread, when outcomes have come in or the map is over. held: how many of those that
    were taken wait for an earlier one.
    """

    rank = 1

    def __init__(self, target: Target, inputs: Any, *, verb: Verb = Verb.MAP) -> None:
        self.id = fresh_id(CALL)
        self.total: int | None = None
        self.inputs = inputs
        self.held = 0
        self.on_ready: Callable[[], object] = lambda: None
        self._target = target
        self._verb = verb
        self._parent = parent()
        self._sent: deque[_Sent] = deque()
        self._next = 0
        self._stream: Stream | None = None
        self._ready = threading.Condition()
        self._arrived: deque[tuple[Frame, list[Any], bytes]] = deque()
        self._ended = bytearray()
        self._ended_count = 0
        self._bytes = 0
        self._fds = 0
        # The first input goes alone: it tells how large inputs are, and its outcome is not kept waiting.
        self._batch = 1
        self._mean_bytes = 1
        self._error: BaseException | None = None
        self._over = False
        self._started = False
        self._full_at: int | None = None
        self._patience = Patience()

    # -- the consumer's thread

    def feed(self) -> bool:
        """Packs and sends more inputs, as far as the window allows. False when there are no more.

        Raises what the iterator of the inputs raises, SerializationError for one that cannot travel.
        """
        while self.may_feed:
            alone = self._batch == 1
            self.send(*collect(self.inputs, self.most))
            if alone and self.total is None:
                self._let_the_first_through()
                return True
        return self.total is None

    def _let_the_first_through(self) -> None:
        """Packing thousands of inputs holds the interpreter: a warm container's first outcome would wait for it."""
        with self._ready:
            if not self._arrived and not self._over:
                self._ready.wait(FIRST_WAIT_S)

    @property
    def most(self) -> int:
        """How many inputs may be sent at once."""
        # Large ones are packed one by one as they come: whoever makes them may use their memory again for the next.
        return 1 if self._mean_bytes > ALONE_BYTES else min(self._batch, BATCH_BYTES // self._mean_bytes)

    def send(self, batch: list[Input], last: bool) -> None:  # noqa: FBT001 - what `collect` gave
        """Packs and sends inputs; last: there are no more."""
        if last:
            self.total = self._next + len(batch)
        for sent in self._pack(batch):
            self._next += len(sent.sizes)
            with self._ready:
                self._bytes += sum(map(len, sent.parts))
                self._fds += len(sent.fds)
            post(self._send, sent, self.total if self._next == self.total else None)
        self._batch = min(BATCH, self._batch * GROWTH)

    def arrived(self, *, wait: bool) -> list[tuple[int, Any]] | None:
        """Outcomes that have come in, unpacked; [] when there are none and none is waited for, None when all are through.

        Raises the error that ended the map as a whole.
        """
        with self._ready:
            while wait and not self._arrived and not self._over:
                self._ready.wait()
            frames = list(self._arrived)
            self._arrived.clear()
            over, error = self._over, self._error
        if not frames and over:
            if error is not None:
                raise error
            return None
        found: list[tuple[int, Any]] = []
        for frame, head, known in frames:
            with self._ready:
                self._ended_count += len(head[1]) - known.count(1)
                self._bytes -= len(frame.payload)
                self._fds -= len(frame.fds)
            outcomes = outcomes_in(frame, head, root=self._target.root)
            found += (
                [one for one, came in zip(outcomes, known, strict=True) if not came] if known else outcomes
            )
        return found

    @property
    def may_feed(self) -> bool:
        """Whether there are inputs left and room for them: what came back counts until it is taken."""
        return (
            self.total is None
            and not self._over
            and self._next - self._ended_count + self.held < OUTSTANDING
            and self._bytes < OUTSTANDING_BYTES
            and self._fds < OUTSTANDING_FDS
        )

    @property
    def progress(self) -> tuple[int, int]:
        """How many inputs were taken up, and how many have ended."""
        return self._next, self._ended_count

    @property
    def function(self) -> str:
        """The id or address of the function."""
        return self._target.function

    def stop(self) -> None:
        """The consumer has gone: what is left is cancelled."""
        post(self._cancel)

    def _pack(self, batch: list[Input]) -> list[_Sent]:
        """A batch as what is sent: small inputs together, large ones each by itself. An end alone is an empty one."""
        start = self._next
        if len(batch) > 1 and self._mean_bytes <= ALONE_BYTES:
            many = payload.pack_many(self._target.inputs(batch), role="call", main=self._target.main)
            self._mean_bytes = max(1, len(many.buffer) // len(batch))
            if len(many.buffer) <= FRAME_BYTES:
                return [_Sent(start, many.lengths, [many.buffer], ())]
        found: list[_Sent] = []
        for args, kwargs in batch:
            one = Packed(self._target, args, kwargs)
            self._mean_bytes = max(1, one.bytes)
            found.append(_Sent(start + len(found), [one.size], one.buffers, one.fds))
        return found or [_Sent(start, [], [], ())]

    # -- on the loop

    def start(self) -> None:
        """Takes up the connection; on the client's loop."""
        self._target.client.add(self)

    def attach(self, session: Session) -> None:
        """See Lasting: everything whose outcome is not in is sent again."""
        if not self._started:
            return
        known = {"call": self.id, "verb": self._verb, **self._target.head, **self._parent}
        skip = [
            list(run)
            for run in _runs(self._ended, 0, self._sent[0].start if self._sent else len(self._ended))
        ]
        try:
            head = {**known, "start": 0, "d": [], "skip": skip}
            if self.total is not None:
                # No inputs may be left that would say so.
                head["total"] = self.total
            self._full_at = None
            self._stream = session.open("call", head, on_frame=self._on_frame)
            for sent in self._sent:
                self._put(self._stream, sent)
        except GONE:
            raise
        except Error as error:
            self.give_up(error)

    def give_up(self, error: Error) -> None:
        """See Lasting."""
        self._finish(error)

    def _send(self, sent: _Sent, total: int | None) -> None:
        if self._over:
            return
        self._ended.extend(bytes(len(sent.sizes)))
        self._sent.append(sent)
        try:
            if not self._started:
                self._started = True
                self._target.client.add(self)
            elif self._stream is not None and self._stream.live and self._full_at is None:
                self._put(self._stream, sent, total)
        except GONE:
            return
        except Error as error:
            self.give_up(error)

    def _put(self, stream: Stream, sent: _Sent, total: int | None = None) -> None:
        """Sends inputs; after those before them."""
        if total is None and self.total is not None and sent.start + len(sent.sizes) == self.total:
            total = self.total
        head: dict[str, Any] = {"start": sent.start, "d": sent.sizes}
        if total is not None:
            head["total"] = total
        if sent.went:
            head["again"] = 1
        sent.went = True
        stream.send(head, *sent.parts, fds=sent.fds)

    def _wait_for_room(self, start: int, refused: Error) -> None:
        """There is no room for the inputs from `start` on: the first of them are sent again later, the rest once they are taken."""
        loop = asyncio.get_running_loop()
        delay_s = self._patience.delay_s(refused, loop.time())
        if delay_s is None:
            if self._stream is not None:
                self._stream.cancel()
            self._finish(refused)
            return
        self._full_at = start
        for sent in self._held():
            sent.went = False
        loop.call_later(delay_s, self._ask_for_room, self._stream)

    def _ask_for_room(self, refused: Stream | None) -> None:
        held = self._held()
        if not self._over and held and refused is self._stream and refused is not None and refused.live:
            self._put(refused, held[0])

    def _send_held(self) -> None:
        """The server has taken the first of those that waited for room."""
        self._patience.has_room()
        held, self._full_at = self._held()[1:], None
        if self._stream is not None and self._stream.live:
            for sent in held:
                self._put(self._stream, sent)

    def _held(self) -> list[_Sent]:
        return [sent for sent in self._sent if self._full_at is not None and sent.start >= self._full_at]

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind is Kind.FAIL:
            error = Error.from_wire(frame.head())
            if not isinstance(error, ConnectionLost):
                self._finish(error)
            return
        told = frame.head()
        if "full" in told:
            self._wait_for_room(told["start"], Error.from_wire(told["full"]))
        elif "taken" in told:
            self._send_held()
        head = told.get("o")
        if head is not None:
            start, stop = head[0], head[0] + len(head[1])
            # After a new connection an outcome may come twice, also beside others that have not come yet.
            known = bytes(self._ended[start:stop]) if self._ended.find(1, start, stop) >= 0 else b""
            self._ended[start:stop] = b"\x01" * (stop - start)
            kept = Frame(frame.kind, payload=frame.payload, fds=frame.take_fds())
            with self._ready:
                self._arrived.append((kept, head, known))
                self._bytes += len(kept.payload)
                self._fds += len(kept.fds)
                self._ready.notify()
            self.on_ready()
            while self._sent and self._all_ended(self._sent[0]):
                self._let_go(self._sent.popleft())
        if frame.kind is Kind.END:
            self._finish(None)

    def _all_ended(self, sent: _Sent) -> bool:
        return self._ended.find(0, sent.start, sent.start + len(sent.sizes)) < 0

    def _let_go(self, sent: _Sent) -> None:
        with self._ready:
            self._bytes -= sum(map(len, sent.parts))
            self._fds -= len(sent.fds)
        for fd in sent.fds:
            os.close(fd)

    def _cancel(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
        self._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        self._target.client.remove(self)
        while self._sent:
            self._let_go(self._sent.popleft())
        with self._ready:
            self._over = True
            self._error = self._error or error
            self._ready.notify_all()
        self.on_ready()


@boundary("map")
def results(call: MapCall, *, ordered: bool, keep_errors: bool) -> Iterator[Any]:
    """The values of a map, in the order of its inputs or as they come; feeds it as they are taken.

    keep_errors: exceptions are values; else the first is raised, and the rest of the map cancelled.
    """
    line = _Line(call, ordered=ordered, keep_errors=keep_errors)
    finished = False
    bar = begin_map(call, call.function)
    try:
        more = call.feed()
        while (found := call.arrived(wait=not (more and call.may_feed))) is not None:
            if bar is not None:
                bar.moved(found)
            yield from line.values(found)
            more = more and call.feed()
        finished = True
    finally:
        if bar is not None:
            bar.over()
        if not finished:
            call.stop()


@boundary("map")
async def results_async(call: MapCall, *, ordered: bool, keep_errors: bool) -> AsyncIterator[Any]:
    """The same on the caller's own loop: while an input is waited for, values come on."""
    line = _Line(call, ordered=ordered, keep_errors=keep_errors)
    finished = False
    some = asyncio.Event()
    loop = asyncio.get_running_loop()
    call.on_ready = lambda: loop.call_soon_threadsafe(some.set)
    bar = begin_map(call, call.function)
    async with Ahead(call.inputs, some.set) as ahead:
        try:
            while True:
                some.clear()
                while call.may_feed and (batch := ahead.collect(call.most)) is not None:
                    call.send(*batch)
                    # Inputs may be there without end: others on this loop have their turn too.
                    await asyncio.sleep(0)
                found = call.arrived(wait=False)
                if found is None:
                    finished = True
                    return
                if bar is not None:
                    bar.moved(found)
                for value in line.values(found):
                    yield value
                if not found and not (call.may_feed and ahead.ready):
                    await some.wait()
        finally:
            call.on_ready = lambda: None
            if bar is not None:
                bar.over()
            if not finished:
                call.stop()


class _Line:
    """Puts outcomes into the order that the consumer wants, and raises those that are exceptions."""

    def __init__(self, call: MapCall, *, ordered: bool, keep_errors: bool) -> None:
        self._call = call
        self._ordered = ordered
        self._keep_errors = keep_errors
        self._waiting: dict[int, Any] = {}
        self._at = 0

    def values(self, found: list[tuple[int, Any]]) -> Iterator[Any]:
        """The values that are due now, after these outcomes have come in."""
        if not self._ordered:
            for _index, value in found:
                yield self._value(value)
            return
        self._waiting.update(found)
        self._call.held = len(self._waiting)
        while self._at in self._waiting:
            value = self._waiting.pop(self._at)
            self._at += 1
            self._call.held -= 1
            yield self._value(value)

    def _value(self, value: Any) -> Any:
        if type(value) is not Failure:
            return value
        if self._keep_errors:
            return value.error
        raise value.error


def _runs(ended: bytearray, low: int, high: int) -> Iterator[tuple[int, int]]:
    """The runs [start, stop) of ended inputs between low and high."""
    at = low
    while at < high:
        start = ended.find(1, at, high)
        if start < 0:
            return
        stop = ended.find(0, start, high)
        at = high if stop < 0 else stop
        yield start, at
