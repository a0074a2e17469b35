"""Calls: the data path. Inputs in, leases out to containers that have a free slot, outcomes back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from squall.model.call import OutcomeKind
from squall.model.container import ContainerState
from squall.model.errors import AppStopped, Error, FunctionNotFound, InputCancelled, TooManyInputs
from squall.model.ids import CallId, ContainerId, FunctionId
from squall.scheduling.chunk import chunk_size, may_prefetch
from squall.scheduling.inputs import Segment
from squall.scheduling.retry import delay_after_raise_s
from squall.server.input_blocks import MOST_BYTES, Block
from squall.server.records import CallRecord, FunctionRecord, Worker
from squall.wire.codec import Buffer, Frame, write_head

SLOW_S = 0.05
"""After how long without an outcome a container gives back what it has not begun."""
Clock = Callable[[], float]
Later = Callable[..., object]


class Calls:
    """Every call in hand, and every container that takes inputs.

    wake: called when containers may have to come or go. later(delay_s, callback, *args): a timer. on_outcomes: gets
    the outcomes of durable calls, (call, start, sizes, kinds, payload parts), before anybody else.
    """

    def __init__(self, *, clock: Clock, later: Later, wake: Callable[[], None], pending_limit: int) -> None:
        self.functions: dict[FunctionId, FunctionRecord] = {}
        self.calls: dict[CallId, CallRecord] = {}
        self.workers: dict[ContainerId, Worker] = {}
        self.on_outcomes: (
            Callable[[CallRecord, int, list[Any], Any, list[Buffer], tuple[int, ...]], None] | None
        ) = None
        self.fenced = 0
        self.next_look_s = math.inf
        self._clock = clock
        self._later = later
        self._wake = wake
        self._pending_limit = pending_limit

    # -- from clients

    def submit(self, call: CallRecord, head: dict[str, Any], frame: Frame) -> None:
        """Takes inputs of a call, and hands them to whoever is free.

        head: "start", "d" (sizes), "total" once it is known, "skip": runs whose outcomes the client has.
        Raises FunctionNotFound, TooManyInputs, ValueError for sizes that do not fit the payload.
        """
        record = self.functions.get(call.function)
        if record is None:
            raise FunctionNotFound(f"there is no function {call.function!r} here, or its app has stopped")
        sizes = head.get("d", [])
        start = head.get("start", 0)
        line = record.line
        if line.waiting + len(sizes) > self._pending_limit:
            raise TooManyInputs(
                f"{line.waiting} inputs wait for {record.function.name}, the limit is {self._pending_limit}",
                limit=self._pending_limit,
            )
        for low, high in head.get("skip", ()):
            line.skip(call.id, start=low, count=high - low)
        block = Block.read(start, sizes, frame.payload, fds=len(frame.fds))
        if not line.waiting:
            record.waiting_since_s = self._clock()
        fresh = line.submit(call.id, start=start, count=len(sizes), total=head.get("total"))
        self.calls.setdefault(call.id, call)
        if fresh:
            call.blocks.add(block.without(len(sizes) - fresh), frame.take_fds())
        self.feed(record)
        self._end_if_done(record, call)

    def cancel(self, call: CallId, error: Error | None = None) -> None:
        """Ends a call: nothing of it waits, and who works on it is interrupted."""
        record = self.calls.pop(call, None)
        if record is None:
            return
        function = self.functions.get(record.function)
        if function is not None:
            for container, part in function.line.drop(call):
                worker = self.workers.get(container)
                if worker is not None and worker.stream is not None:
                    head = {"t": "interrupt", "call": call, "start": part.start, "stop": part.stop}
                    _tell(worker, {**head, "why": "cancel"})
        record.blocks.close()
        if record.stream is not None:
            record.stream.fail(error or InputCancelled("the call was cancelled"))
        self._wake()

    def holders(self, call: CallId) -> list[Worker]:
        """The containers that have inputs of a call in hand."""
        record = self.calls.get(call)
        function = self.functions.get(record.function) if record is not None else None
        if function is None:
            return []
        leases = function.line.leases
        return [
            worker
            for worker in function.workers.values()
            if any(part.call == call for lease in leases.get(worker.id, ()) for part in lease.segments)
        ]

    def credit(self, call: CallRecord, items: int) -> None:
        """The consumer of a generator takes this many more items."""
        worker = self.workers.get(call.generating) if call.generating else None
        if worker is None:
            call.credit += items
        else:
            _tell(worker, {"t": "credit", "call": call.id, "items": items})

    # -- from containers

    def feed(self, record: FunctionRecord) -> None:
        """Gives what waits to containers with a free slot; wakes the control path when something is left over."""
        line = record.line
        while line.waiting and record.free:
            worker = record.free[-1]
            if worker.retiring or not self.next(record, worker):
                record.free.pop()
        if line.waiting:
            self._wake()

    def next(self, record: FunctionRecord, worker: Worker) -> bool:
        """Leases inputs to a container. False when nothing waits, or it holds as much as it may."""
        line, pace = record.line, record.pace
        held = len(line.leases.get(worker.id, ()))
        if worker.yielding or worker.stream is None or not worker.stream.live:
            return False
        if held > (1 if may_prefetch(pace) else 0):
            return False
        most = (
            1
            if record.function.single_use
            else chunk_size(pace, waiting=line.waiting, containers=len(record.workers))
        )
        lease = line.take(worker.id, most)
        if lease is None:
            return False
        runs: list[list[Any]] = []
        parts: list[memoryview] = []
        fds: list[int] = []
        size = 0
        for segment in list(lease.segments):
            call = self.calls[segment.call]
            stop = segment.start
            if not fds and size < MOST_BYTES:
                cut = call.blocks.cut(segment.start, segment.stop)
                fds, stop = cut.fds, cut.stop
                size += cut.size
                parts += cut.parts
                if stop > segment.start:
                    runs.append([segment.call, segment.start, segment.attempt, cut.sizes])
            if stop < segment.stop:
                back = Segment(segment.call, stop, segment.stop, segment.attempt, segment.alone)
                line.give_back(worker.id, back)
            if call.credit or record.function.is_generator:
                self._grant(call, worker)
        worker.stream.send({"t": "in", "L": runs, "a": worker.seen}, *parts, fds=fds)
        worker.acknowledged = worker.seen
        if not held:
            worker.progress_s = now = self._clock()
            if (
                now + (SLOW_S if len(lease.segments) > 1 or lease.count > 1 else record.function.timeout_s)
                < self.next_look_s
            ):
                self._wake()
        worker.state = ContainerState.BUSY
        return True

    def make_way(self, worker: Worker) -> None:
        """A container is kept by one input: what it has not begun goes to others, and nothing new to it."""
        if not worker.yielding and worker.state is ContainerState.BUSY:
            worker.yielding = True
            _tell(worker, {"t": "yield"})

    def finish(self, worker: Worker, head: dict[str, Any], frame: Frame) -> None:
        """Outcomes from a container: those that count go to their callers, then the container gets its next inputs."""
        record = self.functions.get(worker.function)
        if not self._is_news(worker, head) or record is None:
            return
        worker.progress_s = now = self._clock()
        worker.interrupted_s = None
        # What made way tells it while its long input goes on.
        worker.yielding = worker.yielding and "y" in head
        payload = memoryview(frame.payload)
        fds = frame.fds
        at = 0
        for call, start, attempt, sizes, kinds, seconds in head["L"]:
            length = _length(sizes)
            self._settle(
                record,
                worker,
                Segment(call, start, start + len(sizes), attempt),
                (sizes, kinds, payload[at : at + length], fds),
            )
            at += length
            record.pace = record.pace.seen(seconds=seconds, inputs=len(sizes))
        for call, start, stop, attempt in head.get("B", ()):
            record.line.give_back(worker.id, Segment(call, start, stop, attempt))
        self._go_on(record, worker, now)

    def item(self, worker: Worker, head: dict[str, Any], frame: Frame) -> None:
        """A value that a generator yielded: straight to the caller."""
        call = self.calls.get(head["call"])
        record = self.functions.get(worker.function)
        if (
            not self._is_news(worker, head)
            or call is None
            or record is None
            or call.stream is None
            or not call.stream.live
        ):
            return
        if record.line.attempt_of(worker.id, call.id, head["index"]) != head["attempt"]:
            self.fenced += 1
            return
        worker.progress_s = self._clock()
        call.items_sent += 1
        call.stream.send({"item": head["item"], "d": head["d"]}, frame.payload, fds=frame.fds)

    def fail_waiting(self, record: FunctionRecord, kind: OutcomeKind, parts: list[bytes]) -> None:
        """Ends every input that waits for this function: its code cannot be loaded, or its containers never start."""
        line = record.line
        nobody = ContainerId("")
        while (lease := line.take(nobody, 4096)) is not None:
            for segment in list(lease.segments):
                sizes: list[Any] = [[len(part) for part in parts] if len(parts) > 1 else len(parts[0])]
                for index in range(segment.start, segment.stop):
                    one = Segment(segment.call, index, index + 1, segment.attempt)
                    self._deliver(record, nobody, one, (sizes, [int(kind)], b"".join(parts), ()))

    def end_input(self, record: FunctionRecord, container: ContainerId, part: Segment, error: Error) -> None:
        """Ends one leased input with an error of ours."""
        text = write_head(error.to_wire())
        self._deliver(record, container, part, ([len(text)], [int(OutcomeKind.FAILED)], text, ()))

    def stop_function(self, function: FunctionId) -> None:
        """Forgets a function: its calls end."""
        record = self.functions.get(function)
        if record is None:
            return
        for call in list(record.line.calls):
            self.cancel(call, AppStopped("the app was stopped, and its calls with it"))
        self.functions.pop(function, None)

    # -- inside

    def _go_on(self, record: FunctionRecord, worker: Worker, now: float) -> None:
        """A container that has room asks again; it becomes free when nothing waits."""
        if worker.id not in record.workers:
            return
        worker.retiring = worker.retiring or record.function.single_use
        if not worker.retiring:
            while record.line.waiting and self.next(record, worker):
                pass
        if not record.line.leases.get(worker.id):
            worker.state = ContainerState.IDLE
            worker.idle_since_s = now
            if worker not in record.free:
                record.free.append(worker)
            if record.line.waiting or worker.retiring or record.function.single_use:
                self._wake()
        elif (
            may_prefetch(record.pace) and worker not in record.free and len(record.line.leases[worker.id]) < 2
        ):
            record.free.insert(0, worker)

    def _settle(
        self, record: FunctionRecord, worker: Worker, done: Segment, what: tuple[Any, Any, Any, Any]
    ) -> None:
        sizes, kinds, payload, fds = what
        if kinds and record.function.retries is not None:
            at = 0
            for offset, (size, kind) in enumerate(zip(sizes, kinds, strict=True)):
                one = Segment(done.call, done.start + offset, done.start + offset + 1, done.attempt)
                length = _length([size])
                if kind != OutcomeKind.RAISED or not self._retry(record, worker.id, one):
                    self._deliver(record, worker.id, one, ([size], [kind], payload[at : at + length], fds))
                at += length
            return
        self._deliver(record, worker.id, done, what)

    def _retry(self, record: FunctionRecord, container: ContainerId, one: Segment) -> bool:
        """Whether the user's policy gives a raising input another attempt; its delay is started then."""
        line = record.line.calls.get(one.call)
        if line is None:
            return False
        raised = line.raises.get(one.start, 0) + 1
        delay = delay_after_raise_s(record.function.retries, raised=raised)
        if delay is None or not record.line.put_off(container, one):
            return False
        line.raises[one.start] = raised
        self._later(delay, self._again, record, one)
        return True

    def _again(self, record: FunctionRecord, one: Segment) -> None:
        record.line.again(one)
        self.feed(record)

    def _deliver(
        self, record: FunctionRecord, container: ContainerId, done: Segment, what: tuple[Any, Any, Any, Any]
    ) -> None:
        sizes, kinds, payload, fds = what
        call = self.calls.get(done.call)
        for start, stop in record.line.finish(container, done):
            if call is None:
                continue
            low, high = start - done.start, stop - done.start
            part, run, how = payload, sizes, kinds
            if high - low != len(sizes):
                part = payload[_length(sizes[:low]) : _length(sizes[:high])]
                run, how = sizes[low:high], kinds and kinds[low:high]
            call.blocks.ended(start, stop)
            if self.on_outcomes is not None and call.durable:
                self.on_outcomes(call, start, run, how, [part], fds)
            if call.stream is not None and call.stream.live:
                self._answer(record, call, {"o": [start, run, how]}, part, fds)
            else:
                self._end_if_done(record, call)

    def _answer(
        self,
        record: FunctionRecord,
        call: CallRecord,
        head: dict[str, Any],
        part: Buffer,
        fds: tuple[int, ...],
    ) -> None:
        assert call.stream is not None
        used = fds if fds and any(type(size) is dict for size in head["o"][1]) else ()
        line = record.line.calls.get(call.id)
        if line is not None and line.done:
            call.stream.end(head, part, fds=used)
            self._forget(record, call)
        else:
            call.stream.send(head, part, fds=used)

    def _end_if_done(self, record: FunctionRecord, call: CallRecord) -> None:
        line = record.line.calls.get(call.id)
        if line is not None and line.done:
            if call.stream is not None and call.stream.live:
                call.stream.end({})
            self._forget(record, call)

    def _forget(self, record: FunctionRecord, call: CallRecord) -> None:
        record.line.drop(call.id)
        call.blocks.close()
        self.calls.pop(call.id, None)

    def _grant(self, call: CallRecord, worker: Worker) -> None:
        call.generating = worker.id
        if call.credit:
            _tell(worker, {"t": "credit", "call": call.id, "items": call.credit})
            call.credit = 0

    def _is_news(self, worker: Worker, head: dict[str, Any]) -> bool:
        """Whether a container's message was not seen before: after a new connection it sends some again."""
        number = head["n"]
        if number <= worker.seen:
            return False
        worker.seen = number
        return True


def _length(sizes: list[Any]) -> int:
    try:
        return sum(sizes)
    except TypeError:
        return sum(size if type(size) is int else sum(size) if type(size) is list else 0 for size in sizes)


def _tell(worker: Worker, head: dict[str, Any]) -> None:
    if worker.stream is not None and worker.stream.live:
        worker.stream.send(head)


def failed_parts(error: Error) -> list[bytes]:
    """An error of ours as the payload of an outcome."""
    return [json.dumps(error.to_wire()).encode()]
