"""Calls: the data path. Inputs in, leases out to containers that have a free slot, outcomes back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from squall import faults
from squall.model.call import CallState, OutcomeKind
from squall.model.container import ContainerState
from squall.model.errors import AppStopped, ChannelClosed, Error, FunctionNotFound, InputCancelled
from squall.model.ids import AppId, CallId, ContainerId, FunctionId, input_id
from squall.scheduling.inputs import Lease, Segment
from squall.scheduling.loss import not_run_again
from squall.scheduling.retry import delay_after_raise_s
from squall.server import hands, outlived
from squall.server.acknowledging import Acknowledging
from squall.server.batching import is_due
from squall.server.family import Family
from squall.server.input_blocks import MOST_BYTES, Block
from squall.server.outcome_runs import OutcomeRun, error_text, read_runs, read_segment, with_error
from squall.server.pending import PendingLimits, refuse_what_is_too_much
from squall.server.records import CallRecord, FunctionRecord, Worker
from squall.server.returning import Returning
from squall.server.sizes import measure
from squall.server.telling import interrupt, pass_on, tell
from squall.wire.codec import Frame

Clock = Callable[[], float]
Later = Callable[..., object]
OnOutcomes = Callable[[CallRecord, OutcomeRun, Worker | None], None]

SLOW_S = 0.05
"""After how long without an outcome a container gives back what it has not begun."""
DOUBT_S = 10.0
"""How long an input that may have begun before, and must not begin twice, waits for a container to say that it has it."""
FAIL_BYTES = 64 * 1024
LOW = 1024
"""With fewer inputs in line, more are fetched of those that wait on record."""
NOBODY = ContainerId("")

_LEASED = faults.declare("lease.taken", "inputs are leased to a container, and were not sent to it")
_LEASE_SENT = faults.declare("lease.sent", "leased inputs were handed to the connection")
_ENDED = faults.declare("outcome.counted", "inputs have ended in the line, and nobody was told")
_TOLD = faults.declare("outcome.told", "an outcome was handed to its client's connection")


class Calls:
    """Every call in hand, and every container that takes inputs.

    wake: called when containers may have to come or go. later(delay_s, callback, *args): a timer. on_outcomes: gets
    the outcomes of durable calls before anybody else, and the container whose message it is; it counts the message
    in `Worker.unrecorded` until they are on disk. returning: what containers say of calls that are not back yet.
    """

    def __init__(
        self, *, clock: Clock, later: Later, wake: Callable[[], None], limits: PendingLimits
    ) -> None:
        self.functions: dict[FunctionId, FunctionRecord] = {}
        self.calls: dict[CallId, CallRecord] = {}
        self.workers: dict[ContainerId, Worker] = {}
        self.family = Family()
        self.returning = Returning()
        self.on_outcomes: OnOutcomes = _nobody_records
        self.on_lease: Callable[[], None] = lambda: None
        self.on_dropped: Callable[[CallId], None] = lambda _call: None
        self.on_stopped: Callable[[FunctionId], None] = lambda _function: None
        self.on_low: Callable[[], None] = lambda: None
        self.on_over: Callable[[CallRecord, CallState], None] = lambda _call, _state: None
        self._printed_s: dict[AppId, float] = {}
        self.pending_bytes = 0
        self.fenced = 0
        self.next_look_s = math.inf
        self.clock = clock
        self._later = later
        self._wake = wake
        self._limits = limits
        self.acknowledge_later = Acknowledging(later).later

    # -- from clients

    def admit(self, function: FunctionId, *, inputs: int = 0, size_bytes: int = 0) -> FunctionRecord:
        """The function, if it takes so many more inputs. Raises FunctionNotFound, TooManyInputs."""
        record = self.functions.get(function)
        if record is None:
            raise FunctionNotFound(f"there is no function {function!r} here, or its app has stopped")
        refuse_what_is_too_much(
            record, self._limits, inputs=inputs, size_bytes=size_bytes, pending_bytes=self.pending_bytes
        )
        return record

    def submit(self, call: CallRecord, head: dict[str, Any], frame: Frame) -> None:
        """Takes inputs of a call, and hands them to whoever is free; those known already are passed over.

        head: "start", "d" (sizes), "total" once it is known, "skip": runs whose outcomes the client has, "again": they were
        sent before, and may have begun, "attempt": the number of their first attempt.
        Raises FunctionNotFound; ValueError for inputs out of order and for sizes that do not fit the payload, of
        which nothing is taken then.
        """
        record = self.admit(call.function)
        line, sizes = record.line, head.get("d", [])
        block = Block.read(head.get("start", 0), sizes, frame.payload, fds=len(frame.fds))
        for low, high in head.get("skip", ()):
            line.skip(call.id, start=low, count=high - low)
        if not line.waiting:
            record.waiting_since_s = self.clock()
        span = {"start": block.start, "count": len(sizes), "attempt": head.get("attempt", 1)}
        fresh = line.submit(call.id, total=head.get("total"), **span)
        if call.id not in self.calls:
            self.calls[call.id] = call
            self.family.add(call)
        if fresh:
            record.arrivals = record.arrivals.seen(inputs=fresh, now_s=self.clock())
            kept = block.without(len(sizes) - fresh)
            call.blocks.add(kept, frame.take_fds())
            self.pending_bytes += len(kept.payload)
            if head.get("again") and record.function.at_most_once:
                self._doubt(record, call.id, len(sizes) + block.start - fresh, fresh)
        if self.returning:
            outlived.welcome(self, record, call)
        if record.refused is not None and call.durable:
            record.line.rest(call.id)
        self.feed(record)
        self._end_if_done(record, call)

    def cancel(self, call: CallId, error: Error | None = None, *, spare_durable: bool = False) -> None:
        """Ends a call and those that its inputs have made: nothing of them waits, and who works on them is interrupted.

        Those on record are told of to on_dropped; spare_durable: they go on, because nobody wanted an end.
        """
        for one in self.family.tree(call):
            known = self.calls.get(one)
            if known is not None and one != call and known.durable:
                if spare_durable:
                    continue
                self.on_dropped(one)
            self._cancel_one(
                one, error if one == call else InputCancelled("the call that made it was cancelled")
            )
        self._wake()

    def _cancel_one(self, call: CallId, error: Error | None) -> None:
        record = self.calls.pop(call, None)
        if record is None:
            return
        self.family.remove(record)
        function = self.functions.get(record.function)
        if function is not None:
            for container, part in function.line.drop(call):
                worker = self.workers.get(container)
                if worker is not None:
                    interrupt(worker, part, why="cancel")
        self.pending_bytes -= record.blocks.close()
        self.on_over(record, CallState.CANCELLED)
        if record.stream is not None:
            record.stream.fail(error or InputCancelled("the call was cancelled"))

    def holders(self, call: CallId) -> list[Worker]:
        """The containers that have inputs in hand of a call, or of one that its inputs have made."""
        tree = frozenset(self.family.tree(call))
        functions = {self.calls[one].function for one in tree if one in self.calls}
        return [
            worker
            for name in functions & self.functions.keys()
            for worker in self.functions[name].workers.values()
            if any(part.call in tree for part in self.functions[name].line.held(worker.id))
        ]

    def has_printed(self, app: AppId) -> None:
        """Output of an app was passed on to its client: who is answered on another connection is told so ("p")."""
        self._printed_s[app] = self.clock()

    def credit(self, call: CallRecord, items: int) -> None:
        """The consumer of a generator takes this many more items."""
        call.credit += items
        worker = self.workers.get(call.generating) if call.generating else None
        if worker is not None:
            tell(worker, {"t": "credit", "call": call.id, "items": items, "upto": call.credit})

    def stop_function(self, function: FunctionId) -> None:
        """Forgets a function: its calls end. Those on record are told of to on_dropped first."""
        record = self.functions.get(function)
        if record is None:
            return
        for call in list(record.line.calls):
            if call in self.calls and self.calls[call].durable:
                self.on_dropped(call)
            self.cancel(call, AppStopped("the app was stopped, and its calls with it"))
        self.on_stopped(function)
        self.functions.pop(function, None)
        self._printed_s.pop(record.function.app, None)

    # -- to containers

    def feed(self, record: FunctionRecord) -> None:
        """Gives what waits to containers with a free slot; wakes the control path when something is left over."""
        line = record.line
        if record.doubted:
            record.doubted = [part for part in record.doubted if line.waits(part)]
        while line.waiting and record.free and not record.held_back and self._due(record):
            worker = record.freest
            if worker.retiring or not self.next(record, worker):
                record.free.remove(worker)
        if line.waiting:
            self._wake()

    def next(self, record: FunctionRecord, worker: Worker) -> bool:
        """Leases inputs to a container. False when nothing waits, or it holds as much as it may."""
        line, stream = record.line, worker.stream
        held = len(line.leases.get(worker.id, ()))
        if record.held_back or worker.yielding or worker.silent or stream is None or not stream.live:
            return False
        full = held >= record.most_leases or not self._due(record)
        if full or (lease := line.take(worker.id, record.most_inputs)) is None:
            return False
        faults.point(_LEASED)
        runs, parts, fds = self._packed(record, worker, lease)
        worker.acknowledged = worker.settled
        try:
            stream.send({"t": "in", "L": runs, "a": worker.acknowledged}, *parts, fds=fds)
        except ChannelClosed:
            for part in reversed(lease.segments):
                line.give_back(worker.id, part)
            return False
        faults.point(_LEASE_SENT)
        if not held or record.function.side_by_side:
            worker.progress_s = now = self.clock()
            hands.note(record, worker, lease, now)
            if line.leased == lease.count:
                record.heard_s = now
            patience_s = SLOW_S if lease.count > 1 else record.function.timeout_s
            if now + patience_s < self.next_look_s:
                self._wake()
        worker.state = ContainerState.BUSY
        self.on_lease()
        if record.paged and line.waiting < LOW:
            self.on_low()
        return True

    def _due(self, record: FunctionRecord) -> bool:
        return not record.function.max_batch or is_due(record, self.clock(), self._later, self.feed)

    def _packed(
        self, record: FunctionRecord, worker: Worker, lease: Lease
    ) -> tuple[list[list[Any]], list[memoryview], list[int]]:
        """A lease as one frame's runs, payload and descriptors; what does not fit goes back to the line."""
        runs: list[list[Any]] = []
        parts: list[memoryview] = []
        fds: list[int] = []
        size = 0
        for part in list(lease.segments):
            call = self.calls[part.call]
            stop = part.start
            if not fds and size < MOST_BYTES:
                cut = call.blocks.cut(part.start, part.stop)
                fds, stop = cut.fds, cut.stop
                size += cut.size
                parts += cut.parts
                runs.append([part.call, part.start, part.attempt, cut.sizes])
                if call.credit or record.function.may_yield:
                    self.grant(call, worker)
            if stop < part.stop:
                record.line.give_back(
                    worker.id, Segment(part.call, stop, part.stop, part.attempt, part.alone)
                )
        return runs, parts, fds

    def make_way(self, worker: Worker) -> None:
        """A container is kept by one input: what it has not begun goes to others, and nothing new to it."""
        if not worker.yielding and worker.state is ContainerState.BUSY:
            worker.yielding = True
            tell(worker, {"t": "yield"})

    # -- from containers

    def finish(self, worker: Worker, head: dict[str, Any], frame: Frame) -> None:
        """Outcomes from a container: those that count go to their callers, then the container gets its next inputs.

        Raises ValueError, TypeError or KeyError for what no runner sends; nothing of it has been taken then.
        """
        runs = read_runs(head, frame)
        back = [read_segment(plain) for plain in head.get("B", ())]
        record = self.functions.get(worker.function)
        if not self.is_news(worker, head) or record is None:
            return
        worker.progress_s = record.heard_s = now = self.clock()
        worker.interrupted_s = None
        for run in runs:
            call = self.calls.get(run.part.call)
            if call is not None:
                call.busy_s[worker.id] = call.busy_s.get(worker.id, 0.0) + run.seconds
            if worker.outlived:
                outlived.take(self, record, worker, run)
            else:
                self.settle(record, worker, run)
            record.pace = record.pace.seen(seconds=run.seconds, inputs=len(run.part))
        for part in back:
            self.returning.done(worker.id, part)
            record.line.give_back(worker.id, part)
        # What made way tells it while its long input goes on; it may say so with that input's outcome, as its last word.
        worker.yielding = worker.yielding and "y" in head and bool(record.line.leases.get(worker.id))
        worker.retiring = worker.retiring or (record.function.single_use and bool(runs))
        self.go_on(record, worker, now)
        if back:
            self.feed(record)

    def item(self, worker: Worker, head: dict[str, Any], frame: Frame) -> None:
        """A value that a generator yielded: straight to the caller. Raises like `finish`."""
        if measure([head["d"]], fds=len(frame.fds)) != len(frame.payload):
            raise ValueError("the size of an item is not that of what was sent")
        part = read_segment((head["call"], head["index"], head["index"] + 1, head["attempt"]))
        what = {"item": head["item"], "d": head["d"]}
        call = self.calls.get(part.call)
        record = self.functions.get(worker.function)
        if not self.is_news(worker, head) or call is None or record is None:
            return
        if call.stream is None or not call.stream.live:
            return
        if record.line.attempt_of(worker.id, call.id, part.start) != part.attempt:
            self.fenced += 1
            return
        worker.progress_s = record.heard_s = self.clock()
        call.items_sent += 1
        pass_on(call.stream.send, what, frame.payload, frame.fds)

    def is_news(self, worker: Worker, head: dict[str, Any]) -> bool:
        """Whether a container's message was not seen before: after a new connection it sends some again."""
        number = head["n"]
        if type(number) is not int:
            raise TypeError("messages are numbered")
        if number <= worker.seen:
            return False
        worker.seen = number
        return True

    def fail_waiting(
        self, record: FunctionRecord, error: bytes, kind: OutcomeKind = OutcomeKind.FAILED
    ) -> None:
        """Ends every input that waits for this function: its code cannot be loaded, or its containers never start.

        error: the JSON of an error of ours or, with kind RAISED, of what user code raised.
        """
        record.unstartable = (error, kind)
        at_once = max(1, FAIL_BYTES // max(1, len(error)))
        while (lease := record.line.take(NOBODY, at_once)) is not None:
            for part in list(lease.segments):
                self._deliver(record, NOBODY, with_error(part, error, kind))
        record.line.leave(NOBODY)

    def end_input(self, record: FunctionRecord, container: ContainerId, part: Segment, error: Error) -> None:
        """Ends leased inputs with an error of ours."""
        self._deliver(record, container, with_error(part, error_text(error)))

    def go_on(self, record: FunctionRecord, worker: Worker, now: float) -> None:
        """A container that has room asks again; it becomes free when nothing waits."""
        if worker.id not in record.workers:
            return
        if not worker.retiring:
            while record.line.waiting and self.next(record, worker):
                pass
        leases = record.line.leases.get(worker.id)
        if not leases:
            worker.state = ContainerState.IDLE
            worker.idle_since_s = now
            if worker not in record.free:
                record.free.append(worker)
            over_s = now + record.function.scaling.scaledown_window_s
            if record.line.waiting or worker.retiring or record.bounds or over_s < self.next_look_s:
                self._wake()
            self.acknowledge_later(worker)
            return
        # Also of what it was found to hold after a restart of the server: its time runs.
        worker.state = worker.state if worker.state is ContainerState.STOPPING else ContainerState.BUSY
        if len(leases) < record.most_leases and worker not in record.free and record.most_leases > 1:
            record.free.insert(0, worker)

    def grant(self, call: CallRecord, worker: Worker) -> None:
        """A container works on a generator's call, or may have missed what was said: how many items its consumer takes in all."""
        call.generating = worker.id
        if call.credit:
            tell(worker, {"t": "credit", "call": call.id, "items": call.credit, "upto": call.credit})

    def settle(self, record: FunctionRecord, worker: Worker, run: OutcomeRun) -> None:
        """Each input of a run ends, unless the user's policy gives it another attempt."""
        if not run.kinds or record.function.retries is None:
            self._deliver(record, worker.id, run, worker)
            return
        for one in run.each():
            if one.kinds[0] != OutcomeKind.RAISED or not self._retry(record, worker.id, one.part):
                self._deliver(record, worker.id, one, worker)

    # -- inside

    def _retry(self, record: FunctionRecord, container: ContainerId, one: Segment) -> bool:
        """Whether the user's policy gives a raising input another attempt; its delay is started then."""
        line, call = record.line.calls.get(one.call), self.calls.get(one.call)
        # Whoever takes items, of a method that yields, has had some already.
        if line is None or (call is not None and call.credit):
            return False
        raised = line.raises.get(one.start, 0) + 1
        delay_s = delay_after_raise_s(
            record.function.retries, raised=raised, of=input_id(one.call, one.start)
        )
        if delay_s is None or not record.line.put_off(container, one):
            return False
        line.raises[one.start] = raised
        self._later(delay_s, self._again, record, one)
        return True

    def _again(self, record: FunctionRecord, one: Segment) -> None:
        record.line.again(one)
        self.feed(record)

    def _doubt(self, record: FunctionRecord, call: CallId, start: int, count: int) -> None:
        """Inputs that may have begun, and must not twice: nothing is given out until they are claimed, or DOUBT_S are over."""
        part = Segment(call, start, start + count, record.line.calls[call].first)
        record.doubted.append(part)
        self._later(DOUBT_S, self._end_doubt, record, part)

    def _end_doubt(self, record: FunctionRecord, part: Segment) -> None:
        record.doubted = [other for other in record.doubted if other is not part]
        record.line.adopt(NOBODY, part)
        error = not_run_again(record.function.name, "the server, or the connection to it, was lost meanwhile")
        for held in record.line.held(NOBODY):
            self.end_input(record, NOBODY, held, error)
        record.line.leave(NOBODY)
        self.feed(record)

    def _deliver(
        self, record: FunctionRecord, container: ContainerId, run: OutcomeRun, worker: Worker | None = None
    ) -> None:
        """Ends those inputs of a run that the container holds, and tells whoever waits for them; the rest is fenced."""
        call = self.calls.get(run.part.call)
        for start, stop in record.line.finish(container, run.part):
            if call is None:
                continue
            faults.point(_ENDED)
            part = run.cut(start, stop)
            call.done += stop - start
            call.failed += len(part.kinds) - part.kinds.count(OutcomeKind.RETURNED)
            self.pending_bytes -= call.blocks.ended(start, stop)
            if call.durable:
                self.on_outcomes(call, part, worker)
            if call.stream is not None and call.stream.live:
                self._answer(record, call, part)
                faults.point(_TOLD)
            else:
                self._end_if_done(record, call)

    def _answer(self, record: FunctionRecord, call: CallRecord, run: OutcomeRun) -> None:
        stream, line = call.stream, record.line.calls.get(call.id)
        if stream is None:
            return
        head: dict[str, Any] = {"o": [run.part.start, run.sizes, run.kinds or 0]}
        if run.let_go:
            head["u"] = 1
        if self._printed_s and self._printed_s.get(record.function.app, -math.inf) >= call.created_s:
            head["p"] = 1
        fds = run.fds if run.fds and any(type(size) is dict for size in run.sizes) else ()
        if line is not None and line.done:
            pass_on(stream.end, head, run.payload, fds)
            self._forget(record, call)
        else:
            pass_on(stream.send, head, run.payload, fds)

    def _end_if_done(self, record: FunctionRecord, call: CallRecord) -> None:
        line = record.line.calls.get(call.id)
        if line is not None and line.done:
            if call.stream is not None and call.stream.live:
                call.stream.end({})
            self._forget(record, call)

    def _forget(self, record: FunctionRecord, call: CallRecord) -> None:
        record.line.drop(call.id)
        self.pending_bytes -= call.blocks.close()
        if self.calls.pop(call.id, None) is not None:
            self.family.remove(call)
            self.on_over(call, CallState.ENDED)


def _nobody_records(_call: CallRecord, _run: OutcomeRun, _worker: Worker | None) -> None:
    """Where outcomes of durable calls go before there is a store."""
