"""Durable calls: on disk before their id is answered, gone on with after a restart, their outcomes kept."""

from __future__ import annotations

import asyncio
import json
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
from squall.blobs.digest import Digest
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
from squall.server.records import CallRecord, FunctionRecord, Worker
from squall.server.returning import recorded
from squall.server.sizes import measure
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
        self._turns: dict[CallId, _Turn] = {}
        self._waiters: dict[tuple[CallId, int], list[Stream]] = {}
        self._outcomes: deque[_Unrecorded] = deque()
        self._some = asyncio.Event()
        self.trouble: str | None = None
        self.keep_s = 7 * DAY_S
        calls.on_outcomes = self._take

    # -- in

    async def submit(self, call: CallRecord, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
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

    async def _submit(self, call: CallRecord, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        sizes, start, fds = head.get("d", []), head.get("start", 0), frame.fds
        self._calls.admit(call.function, inputs=len(sizes), size_bytes=measure(sizes, fds=len(fds)))
        block = Block.read(start, sizes, frame.payload, fds=len(fds))
        earlier = await self._store.call(call.id) if call.id not in self._calls.calls else None
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
        stream.end({"call": call.id})
        faults.point(_ANSWERED)
        if earlier is not None and call.id not in self._calls.calls:
            await self._go_on(call.id, call.function, again=True)
        elif call.function in self._calls.functions:
            known = self._calls.calls.get(call.id, call)
            known.durable = True
            self._run(known, head, bytes(frame.payload), tuple(map(os.dup, fds)))

    async def resume(self, function: FunctionRecord) -> None:
        """A function is known (again): its calls on record go on with the inputs that have no outcome."""
        for found in await self._store.open_calls(function=function.function.id):
            if found.call.id not in self._calls.calls:
                await self._go_on(found.call.id, function.function.id, again=True)

    async def _go_on(self, call: CallId, function: FunctionId, *, again: bool) -> None:
        """Brings into memory what of a call is on record, is not in memory, and has no outcome; again: it may have begun."""
        found = next(
            (each for each in await self._store.open_calls(function=function) if each.call.id == call), None
        )
        if found is None or function not in self._calls.functions:
            return
        faults.point(_REVIVING)
        record = self._calls.calls.get(call) or self._revived_call(found.call)
        line = self._calls.functions[function].line.calls.get(call)
        at = line.submitted if line is not None else 0
        for start, stop in found.missing:
            if at < start:
                self._run(record, {"start": at, "skip": [[at, start]]})
            for low, high, attempt in _in_pieces(max(at, start), stop, found.tried):
                for chunk in await self._store.inputs(call, start=low, stop=high):
                    sizes, payload, fds = await self._values.revived(chunk)
                    head = {"start": chunk.start, "d": sizes, "attempt": attempt, "again": again}
                    self._run(record, head, payload, fds)
            at = max(at, stop)
        # Inputs are recorded in their order: what is on record are the first so many, the others are still to come.
        on_record = found.call.done + sum(stop - start for start, stop in found.missing)
        rest = [[at, on_record]] if at < on_record else []
        self._run(record, {"start": at, "skip": rest, "total": found.call.inputs})

    def _revived_call(self, known: records.CallRecord) -> CallRecord:
        return CallRecord(
            *(known.id, known.function, known.verb),
            durable=True,
            parent=known.parent,
            created_s=self._calls.clock() - max(0.0, time.time() - known.created_s),
        )

    def why_busy(self) -> str | None:
        """Why the server may not end, as far as durable work goes; open calls are in memory, and said there."""
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
        self._waiters.setdefault((call, index), []).append(stream)
        stream.on_frame = lambda frame: self._stop_waiting(call, index, stream, frame)
        if not await self._give(call, index):
            # Asked again: it may have been cancelled after the first look, and before anybody waited here to be told.
            now = await self._store.call(call)
            if now is not None and now.state is CallState.CANCELLED:
                self._waiters.pop((call, index), None)
                raise InputCancelled(f"{call} was cancelled", remedy="call again if it was not meant")
            if not wait and stream.live:
                self._leave(call, index, stream)
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
        self._calls.cancel(call)
        faults.point(_CANCELLED)
        await self._store.end_call(call, state=CallState.CANCELLED, at_s=time.time())
        await self._cancel_children(call)
        for known, index in [key for key in self._waiters if key[0] == call]:
            for stream in self._waiters.pop((known, index)):
                stream.fail(InputCancelled(f"{call} was cancelled", remedy="call again if it was not meant"))

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

    def _stop_waiting(self, call: CallId, index: int, stream: Stream, frame: Frame) -> None:
        """Who waited for an outcome has gone."""
        if frame.kind is Kind.CANCEL:
            self._leave(call, index, stream)
            if stream.live:
                stream.end({})

    def _leave(self, call: CallId, index: int, stream: Stream) -> None:
        waiting = self._waiters.get((call, index), [])
        if stream in waiting:
            waiting.remove(stream)
        if not waiting:
            self._waiters.pop((call, index), None)

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
            if (each.call, index) in self._waiters:
                await self._tell(each.call, index)
        return True

    async def _tell(self, call: CallId, index: int) -> None:
        waiters = list(self._waiters.get((call, index), ()))
        try:
            await self._give(call, index)
        except Error as problem:
            for stream in waiters:
                stream.fail(problem)

    async def _give(self, call: CallId, index: int) -> bool:
        found = await self._store.outcomes(call, start=index, stop=index + 1)
        if not found:
            return False
        outcome = found[0]
        size = json.loads(outcome.head)
        for stream in self._waiters.pop((call, index), []):
            fds: tuple[int, ...] = ()
            if outcome.blob is not None:
                fds = (await self._values.fetch(Digest(outcome.blob)),)
                size["f"] = 0
            if stream.live:
                stream.end({"o": [index, [size], [int(outcome.kind)]]}, bytes(outcome.payload), fds=fds)
            for fd in fds:
                os.close(fd)
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
