"""Durable calls: on disk before their id is answered, gone on with after a restart, their outcomes kept."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from squall import faults
from squall.blobs.blob_store import BlobStore
from squall.model.call import CallState
from squall.model.errors import (
    ConflictError,
    Error,
    FunctionNotFound,
    InputCancelled,
    InvalidError,
    NotFoundError,
    OutputExpired,
    StoreClosed,
)
from squall.model.ids import CALL, CallId, FunctionId, call_of_input, is_id, made_s
from squall.server.calls import Calls
from squall.server.input_blocks import Block
from squall.server.kept_values import KeptValues
from squall.server.outcome_runs import OutcomeRun, error_text, with_error
from squall.server.pager import Page, Pager
from squall.server.records import CallRecord, FunctionRecord, Worker
from squall.server.returning import recorded
from squall.server.sizes import measure
from squall.server.waiters import Waiters
from squall.state import records
from squall.state.state_store import StateStore
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream

_log = logging.getLogger("squall.server")
CHUNK = 1024
AT_ONCE = 64
AGAIN_S = 0.1
AGAIN_MOST_S = 5.0
DAY_S = 86_400.0
_REPLAYED = faults.declare(
    "durable.replayed", "inputs that had failed stand on record to run again, and nobody was told"
)

_TAKEN = faults.declare("call.taken", "inputs of a durable call have come, and are not yet on record")
_RECORDED = faults.declare("call.recorded", "they are on record, and nobody was told")
_ANSWERED = faults.declare("call.answered", "their sender was told, and nothing of them waits to run")
_REVIVING = faults.declare("call.reviving", "a call on record is being brought back into memory")
_OUTCOME_TAKEN = faults.declare("outcome.taken", "outcomes have counted, and are not yet on record")
_OUTCOME_RECORDED = faults.declare("outcome.recorded", "outcomes are on record, and not acknowledged")
_OUTCOME_SETTLED = faults.declare(
    "outcome.settled", "outcomes may be acknowledged, and who waits was not told"
)
_CANCELLED = faults.declare("call.cancelled", "a call is gone from memory, and on record it is open")


@dataclass(slots=True)
class _Turn:
    """Inputs of one call are recorded in the order in which they came."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


@dataclass(slots=True)
class _Unrecorded:
    """Outcomes that are not on disk yet; their descriptors are ours. worker: whose message `number` they came in."""

    call: CallId
    run: OutcomeRun
    worker: Worker | None
    number: int


class Durable:
    """Calls that outlive their client and this server.

    trouble: why outcomes cannot be recorded just now; they are kept, and tried again until they are. keep_s: how long
    outcomes are kept after their call has ended.
    """

    def __init__(self, store: StateStore, blobs: BlobStore, calls: Calls) -> None:
        self._store = store
        self._values = KeptValues(blobs)
        self._calls = calls
        self._pager = Pager(calls, self._load)
        self._turns: dict[CallId, _Turn] = {}
        self._waiters = Waiters(store, self._values)
        self._outcomes: deque[_Unrecorded] = deque()
        self._some = asyncio.Event()
        self.trouble: str | None = None
        self.keep_s = 7 * DAY_S
        calls.on_outcomes = self._take

    # -- in

    async def submit(
        self, call: CallRecord, stream: Stream | None, head: dict[str, Any], frame: Frame
    ) -> None:
        """Records inputs of a call, answers, and lets them run. Sent again, it changes nothing.

        Raises FunctionNotFound, TooManyInputs, ValueError, DiskFull and its like; nothing has been accepted then.
        """
        fds = frame.take_fds()
        turn = self._turns.setdefault(call.id, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                await self._submit(call, stream, head, Frame(frame.kind, payload=frame.payload, fds=fds))
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[call.id]
            for fd in fds:
                os.close(fd)

    async def _submit(
        self, call: CallRecord, stream: Stream | None, head: dict[str, Any], frame: Frame
    ) -> None:
        sizes, start, fds = head.get("d", []), head.get("start", 0), frame.fds
        self._calls.admit(call.function, inputs=len(sizes), size_bytes=measure(sizes, fds=len(fds)))
        block = Block.read(start, sizes, frame.payload, fds=len(fds))
        here = call.id in self._calls.calls or call.id in self._pager
        earlier = None if here else await self._store.call(call.id)
        # Of a deployed app, another version may serve by now: a call stays where it has begun.
        call.function = self._pager.function_of(call.id) or (earlier.function if earlier else call.function)
        record = records.CallRecord(
            id=call.id,
            function=call.function,
            verb=call.verb,
            created_s=time.time(),
            inputs=head.get("total"),
            parent=call.parent,
        )
        chunks = [await self._values.chunk(block, fds)] if sizes else []
        faults.point(_TAKEN)
        await self._store.record_call(record, chunks)
        faults.point(_RECORDED)
        if stream is not None:
            stream.end({"call": call.id})
        faults.point(_ANSWERED)
        if call.id in self._pager:
            self._pager.extend(call.id, start, start + len(sizes), head.get("total"))
        elif earlier is not None and call.id not in self._calls.calls:
            await self._go_on(call.id, call.function, again=True)
        elif (function := self._calls.functions.get(call.function)) is not None:
            known = self._calls.calls.get(call.id, call)
            known.durable = True
            if sizes and self._pager.is_wanted(function, large=bool(fds)):
                self._put_off(known, start, start + len(sizes), head.get("total"))
            else:
                self._run(known, head, bytes(frame.payload), tuple(map(os.dup, fds)))

    def _put_off(self, call: CallRecord, start: int, stop: int, total: int | None) -> None:
        """Inputs that were recorded wait there until there is room in line."""
        line = self._calls.functions[call.function].line.calls.get(call.id)
        page = Page(
            call.id,
            call.function,
            call.verb,
            created_s=call.created_s,
            parent=call.parent,
            on_record=line.submitted if line is not None else 0,
        )
        page.extend(start, stop, total)
        self._pager.put(page)

    async def resume(self, function: FunctionRecord) -> None:
        """A function is known (again): its calls on record go on with the inputs that have no outcome."""
        for found in await self._store.open_calls(function=function.function.id):
            if found.call.id not in self._calls.calls and found.call.id not in self._pager:
                await self._go_on_with(found, again=True)

    async def _go_on(self, call: CallId, function: FunctionId, *, again: bool) -> None:
        for found in await self._store.open_calls(function=function, call=call):
            await self._go_on_with(found, again=again)

    async def _go_on_with(self, found: records.OpenCall, *, again: bool) -> None:
        """Has what of a call is on record, is not in line, and has no outcome wait for its turn; again: it may have begun."""
        known, function = found.call, self._calls.functions.get(found.call.function)
        if function is None:
            return
        faults.point(_REVIVING)
        line = function.line.calls.get(known.id)
        at = line.submitted if line is not None else 0
        missing = [(max(start, at), stop) for start, stop in found.missing if stop > at]
        page = Page(
            *(known.id, known.function, known.verb),
            created_s=self._calls.clock() - max(0.0, time.time() - known.created_s),
            parent=known.parent,
            spans=missing,
            # Inputs are recorded in their order: what is on record are the first so many, the others are still to come.
            on_record=known.done + sum(stop - start for start, stop in found.missing),
            total=known.inputs,
            tried=found.tried or None,
            again=again,
        )
        if not missing:
            self._end_page(page)
        elif function.function.at_most_once:
            # What may have begun is found out for all of them at once, for nothing is given out meanwhile.
            await self._pager.load_all(page)
        else:
            self._pager.put(page)

    async def page(self) -> None:
        """Brings inputs that wait on record into the lines of their functions, for ever."""
        await self._pager.run()

    async def _load(self, page: Page) -> None:
        """Brings the next inputs of a call into the line; see `Pager`."""
        start, stop = page.spans[0]
        low, high, attempt = next(_in_pieces(start, stop, page.tried or {}))
        pieces = [
            (chunk.start, *await self._values.revived(chunk))
            for chunk in await self._store.inputs(page.call, start=low, stop=high)
        ]
        if not self._pager.holds(page) or page.function not in self._calls.functions:
            for fd in (fd for piece in pieces for fd in piece[3]):
                os.close(fd)
            return
        call, at = self._call_of(page)
        if at < low:
            self._run(call, {"start": at, "skip": [[at, low]]})
        for first, sizes, payload, fds in pieces:
            head = {"start": first, "d": sizes, "attempt": attempt, "again": page.again}
            self._run(call, head, payload, fds)
        self._pager.took(page, high)
        if not page.spans:
            self._end_page(page)

    def _end_page(self, page: Page) -> None:
        """All inputs on record that have no outcome are in line: says how many there are, and which have one."""
        call, at = self._call_of(page)
        rest = [[at, page.on_record]] if at < page.on_record else []
        self._run(call, {"start": at, "skip": rest, "total": page.total})

    def _call_of(self, page: Page) -> tuple[CallRecord, int]:
        """A call in memory, made there if it is not, and how many of its inputs are known there."""
        line = self._calls.functions[page.function].line.calls.get(page.call)
        call = self._calls.calls.get(page.call) or CallRecord(
            *(page.call, page.function, page.verb),
            durable=True,
            parent=page.parent,
            created_s=page.created_s,
        )
        return call, line.submitted if line is not None else 0

    def why_busy(self) -> str | None:
        """Why the server may not end, as far as durable work goes; open calls are in memory, and said there."""
        if len(self._pager):
            return f"{len(self._pager)} calls wait on record"
        if not self._outcomes:
            return None
        return f"outcomes of {self.unrecorded} inputs are not on disk yet" + (
            f": {self.trouble}" if self.trouble else ""
        )

    # -- out

    async def answer(self, stream: Stream, call: CallId, index: int, *, wait: bool) -> None:
        """Ends `stream` with the outcome of one input, now or once it is there.

        Raises NotFoundError for a call that is not on record, InvalidError for an index that it does not have.
        """
        known = await self.known(call)
        if index < 0 or (known.inputs is not None and index >= known.inputs):
            raise InvalidError(f"{call} has {known.inputs} inputs, so none has the index {index}")
        self._waiters.add(call, index, stream)
        if not await self._waiters.give(call, index):
            # Asked again: it may have been cancelled after the first look, and before anybody waited here to be told.
            now = await self._store.call(call)
            if now is not None and now.state is CallState.CANCELLED:
                self._waiters.forget(call, index)
                raise InputCancelled(f"{call} was cancelled", remedy="call again if it was not meant")
            if not wait and stream.live:
                self._waiters.leave(call, index, stream)
                stream.end({})

    async def info(self, call: CallId) -> dict[str, Any]:
        """What is known of a call. Raises NotFoundError."""
        known = await self.known(call)
        return {"inputs": known.inputs or 0, "done": known.done, "failed": known.failed, "state": known.state}

    async def known(self, call: CallId) -> records.CallRecord:
        """A durable call that is on record. Raises OutputExpired, NotFoundError."""
        known = await self._store.call(call)
        if known is not None and known.durable:
            return known
        if is_id(call, CALL) and 0 < made_s(call) < time.time() - self.keep_s:
            raise OutputExpired(
                f"{call} is not on record: it was made {(time.time() - made_s(call)) / DAY_S:.1f} days ago, and outcomes are "
                f"kept for {self.keep_s / DAY_S:g} days after their call has ended (the option `result_keep_s`)",
                limit_s=self.keep_s,
            )
        raise NotFoundError(
            f"no call {call} is on record",
            remedy="calls made with `.spawn` are kept for 7 days after they ended; others are not",
        )

    async def replay(self, call: CallId, indexes: list[int] | None) -> tuple[int, ...]:
        """Has dead letters of a call run again, all or those of `indexes`; which.

        They keep their ids and get their next attempt: on record when this returns, so that it is done or not. Raises
        NotFoundError, OutputExpired, ConflictError while the call is open or after it was cancelled, FunctionNotFound. Asked
        again while they run, it gives the same answer.
        """
        known = await self.known(call)
        if known.state is CallState.OPEN and (running := await self._replayed(known, indexes)):
            return running
        if known.state is not CallState.ENDED:
            goes_on = known.state is CallState.OPEN
            raise ConflictError(
                f"{call} {'still runs' if goes_on else 'was cancelled'}, and only a call that has ended is replayed",
                remedy="wait until it has ended" if goes_on else "call the function again",
            )
        if known.function not in self._calls.functions:
            raise FunctionNotFound(
                f"{call} is of {known.function}, whose app does not run any more",
                remedy="call the function of the app that runs now",
            )
        again = await self._store.replay(call, indexes=indexes)
        faults.point(_REPLAYED)
        if again:
            await self._go_on(call, known.function, again=False)
        return again

    async def _replayed(self, known: records.CallRecord, indexes: list[int] | None) -> tuple[int, ...]:
        """What of an open call runs again, if that is all that is asked for."""
        for found in await self._store.open_calls(function=known.function):
            if found.call.id == known.id:
                asked = set(found.tried if indexes is None else indexes)
                return tuple(sorted(asked)) if asked <= found.tried.keys() else ()
        return ()

    def running(self, parent: CallId) -> list[records.CallRecord]:
        """The calls that are not durable, made by inputs of one, and open now."""
        found = [self._calls.calls.get(one) for one in self._calls.family.tree(parent)[1:]]
        return [
            self.summary(one, CallState.OPEN)
            for one in found
            if one is not None and not one.durable and call_of_input(one.parent) == parent
        ]

    def summary(self, call: CallRecord, state: CallState) -> records.CallRecord:
        """A call that is not durable, as the history has it."""
        now_s = time.time()
        function = self._calls.functions.get(call.function)
        line = function.line.calls.get(call.id) if function is not None else None
        return records.CallRecord(
            id=call.id,
            function=call.function,
            verb=call.verb,
            created_s=now_s - (self._calls.clock() - call.created_s),
            inputs=line.total if line is not None else call.done,
            done=call.done,
            failed=call.failed,
            state=state,
            ended_s=None if state is CallState.OPEN else now_s,
            parent=call.parent,
        )

    async def cancel(self, call: CallId) -> None:
        """Ends a call and those that its inputs have made, in memory and on record."""
        self._pager.drop(call)
        self._calls.cancel(call)
        faults.point(_CANCELLED)
        await self._store.end_call(call, state=CallState.CANCELLED, at_s=time.time())
        await self._cancel_children(call)
        self._waiters.fail(
            call, InputCancelled(f"{call} was cancelled", remedy="call again if it was not meant")
        )

    async def drop_function(self, function: FunctionId) -> None:
        """A function is gone: its calls end of which nothing was in line."""
        gone = self._pager.drop_function(function)
        for start in range(0, len(gone), AT_ONCE):
            await asyncio.gather(*map(self.cancel, gone[start : start + AT_ONCE]))

    @property
    def waiting(self) -> int:
        """How many calls wait on record, with some or all of their inputs."""
        return len(self._pager)

    async def _cancel_children(self, call: CallId) -> None:
        """Those on record, whose function may be unknown here: nobody in memory knows of them."""
        start = 0
        while found := await self._store.children(call, start=start):
            start += len(found)
            await asyncio.gather(*(self.cancel(one.id) for one in found if one.durable and one.open))

    async def write_outcomes(self) -> None:
        """Records outcomes as they come, for ever; who waits for one is told after it is on disk.

        What cannot be recorded is kept and tried again: the disk may have room later, and nobody else has it.
        """
        while True:
            await self._some.wait()
            self._some.clear()
            again_s = AGAIN_S
            while self._outcomes:
                batch = list(islice(self._outcomes, AT_ONCE))
                done = await asyncio.gather(*(self._record(each) for each in batch))
                for _recorded in batch:
                    self._outcomes.popleft()
                failed = [each for each, well in zip(batch, done, strict=True) if not well]
                self._outcomes.extendleft(reversed(failed))
                if failed:
                    await asyncio.sleep(again_s)
                    again_s = min(AGAIN_MOST_S, again_s * 2)
                else:
                    self.trouble, again_s = None, AGAIN_S

    @property
    def unrecorded(self) -> int:
        """How many inputs have outcomes that are not on disk yet."""
        return sum(len(each.run.part) for each in self._outcomes)

    # -- inside

    def _run(
        self, call: CallRecord, head: dict[str, Any], payload: bytes = b"", fds: tuple[int, ...] = ()
    ) -> None:
        """Lets inputs run that are on record; takes the descriptors over."""
        frame = Frame(Kind.DATA, payload=payload, fds=fds)
        try:
            self._calls.submit(call, head, frame)
        finally:
            for fd in frame.take_fds():
                os.close(fd)

    def _take(self, call: CallRecord, run: OutcomeRun, worker: Worker | None) -> None:
        named = run.fds if any(type(size) is dict for size in run.sizes) else ()
        kept = replace(run, payload=bytes(run.payload), fds=tuple(map(os.dup, named)))
        number = worker.seen if worker is not None else 0
        if worker is not None:
            worker.unrecorded[number] = worker.unrecorded.get(number, 0) + 1
        self._outcomes.append(_Unrecorded(call.id, kept, worker, number))
        faults.point(_OUTCOME_TAKEN)
        self._some.set()

    async def _record(self, each: _Unrecorded) -> bool:
        """Whether these outcomes are on disk now, or can never be."""
        run = each.run
        try:
            try:
                items = await self._values.outcomes(run)
            except InvalidError as wrong:
                items = await self._values.outcomes(with_error(run.part, error_text(wrong)))
            await self._store.record_outcomes(each.call, items)
        except StoreClosed:
            raise
        except Error as problem:
            if self.trouble is None:
                _log.error("outcomes cannot be recorded, and are kept: %s", problem)
            self.trouble = problem.message
            return False
        faults.point(_OUTCOME_RECORDED)
        for fd in run.fds:
            os.close(fd)
        if each.worker is not None:
            recorded(each.worker, each.number)
            self._calls.acknowledge_later(each.worker)
        faults.point(_OUTCOME_SETTLED)
        for index in range(run.part.start, run.part.stop):
            await self._waiters.tell(each.call, index)
        return True


def _in_pieces(start: int, stop: int, tried: Mapping[int, int]) -> Iterator[tuple[int, int, int]]:
    """A run of inputs as pieces [start, stop) that are read at once, of inputs whose next attempt has one number."""
    while start < stop:
        attempt = tried.get(start, 0) + 1
        end = start + 1
        while end < min(stop, start + CHUNK) and tried.get(end, 0) + 1 == attempt:
            end += 1
        yield start, end, attempt
        start = end
