"""Serving: the simulated server's data path. Inputs in, leases out, outcomes back, as `server/calls.py` does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from squall.model.container import ContainerEnd, ContainerState
from squall.model.ids import CallId, ContainerId, FunctionId, input_id
from squall.scheduling.chunk import chunk_size, may_prefetch
from squall.scheduling.inputs import Segment
from squall.scheduling.loss import End, Suspect, is_own_doing, plan_loss
from squall.scheduling.retry import delay_after_raise_s
from squall.simulation.clock import Clock
from squall.simulation.records import Record, Worker
from squall.simulation.said import Back, Done

SLOW_S = 0.05
START_TRIES = 3
NOBODY = ContainerId("")


@dataclass(frozen=True, slots=True)
class Answer:
    """Outcomes that count, as a caller gets them; container: whose they are, NOBODY for an error of ours."""

    call: CallId
    start: int
    stop: int
    container: ContainerId = NOBODY
    began_s: float = 0.0
    ready_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where the data path leads: lease(worker, segments) to a container, answer(answer) to a caller, wake() to the
    control path, note(record) to whoever counts the inputs in hand.
    """

    lease: Callable[[Worker, list[Segment]], None]
    answer: Callable[[Answer], None]
    wake: Callable[[], None]
    note: Callable[[Record], None]


class Serving:
    """Every call in hand, and every container that takes inputs.

    durable: the calls on record; keep: gets their outcomes, with whose message of which number they came in.
    """

    def __init__(self, clock: Clock, out: Outlets) -> None:
        self.functions: dict[FunctionId, Record] = {}
        self.workers: dict[ContainerId, Worker] = {}
        self.durable: set[CallId] = set()
        self.keep: Callable[[Answer, Worker | None, int], None] = lambda answer, _worker, _number: out.answer(
            answer
        )
        self.next_look_s = math.inf
        self.cores = 1
        self._clock = clock
        self._out = out

    # -- from callers

    def submit(self, function: FunctionId, call: CallId, runs: Iterable[tuple[int, int, bool]]) -> None:
        """Takes a whole call: runs [start, stop) of its inputs in order, and whether the caller has their outcomes."""
        record = self.functions[function]
        record.touched = True
        known = list(runs)
        fresh = sum(stop - start for start, stop, answered in known if not answered)
        record.arrivals = record.arrivals.seen(inputs=fresh, now_s=self._clock.now_s)
        if not record.line.waiting:
            record.waiting_since_s = self._clock.now_s
        total = known[-1][1]
        for start, stop, answered in known:
            if answered:
                record.line.skip(call, start=start, count=stop - start)
            else:
                record.line.submit(call, start=start, count=stop - start, total=total)
        self._end_if_done(record, call)
        self.feed(record)
        self._out.note(record)

    # -- to containers

    def feed(self, record: Record) -> None:
        """Gives what waits to containers with a free slot; wakes the control path when something is left over."""
        while record.line.waiting and record.free:
            worker = record.free[-1]
            if worker.retiring or not self.next(record, worker):
                record.free.pop()
        if record.line.waiting:
            self._out.wake()

    def next(self, record: Record, worker: Worker) -> bool:
        """Leases inputs to a container. False when nothing waits, or it holds as much as it may."""
        line, pace = record.line, record.pace
        held = len(line.leases.get(worker.id, ()))
        if worker.yielding or worker.silent or held > (1 if may_prefetch(pace) else 0):
            return False
        most = chunk_size(pace, waiting=line.waiting, containers=len(record.workers))
        record.touched = True
        lease = line.take(worker.id, most)
        if lease is None:
            return False
        if not held:
            worker.progress_s = now = self._clock.now_s
            if line.leased == lease.count:
                record.heard_s = now
            if now + (SLOW_S if lease.count > 1 else record.function.timeout_s) < self.next_look_s:
                self._out.wake()
        worker.state = ContainerState.BUSY
        self._out.lease(worker, list(lease.segments))
        return True

    def go_on(self, record: Record, worker: Worker) -> None:
        """A container that has room asks again; it becomes free when nothing waits."""
        if worker.id not in record.workers:
            return
        if not worker.retiring:
            while record.line.waiting and self.next(record, worker):
                pass
        leases = record.line.leases.get(worker.id)
        if not leases:
            worker.state = ContainerState.IDLE
            worker.idle_since_s = self._clock.now_s
            if worker not in record.free and not worker.silent:
                record.free.append(worker)
            gone_s = worker.idle_since_s + record.function.scaling.scaledown_window_s
            if record.line.waiting or worker.retiring or gone_s < self.next_look_s:
                self._out.wake()
        elif may_prefetch(record.pace) and worker not in record.free and len(leases) < 2 and worker.alive:
            record.free.insert(0, worker)

    # -- from containers

    def serves(self, worker: Worker) -> None:
        """A container takes inputs from now on, or again."""
        record = self.functions[worker.function]
        if not worker.ready:
            worker.ready, worker.ready_s = True, self._clock.now_s
            if not worker.outlived:
                took_s = self._clock.now_s - worker.created_s
                record.starts = record.starts.seen(seconds=took_s, beside=worker.beside, cores=self.cores)
        record.start_failures = 0
        self.go_on(record, worker)
        self.feed(record)
        self._out.wake()

    def done(self, said: Done) -> None:
        """Outcomes of a container: those that count go to their callers, then it gets its next inputs."""
        worker = self.workers.get(said.container)
        if worker is None:
            return
        record = self.functions[worker.function]
        record.touched = True
        worker.progress_s = record.heard_s = self._clock.now_s
        if worker.outlived:
            record.line.adopt(worker.id, said.part)
        if not said.raised or not self._retry(record, worker.id, said.part):
            self._deliver(record, worker.id, said.part, said.began_s)
        record.pace = record.pace.seen(seconds=said.seconds, inputs=len(said.part))
        worker.yielding = False
        self.go_on(record, worker)
        self._out.note(record)

    def back(self, said: Back) -> None:
        """Inputs that a container had not begun stand in line again."""
        worker = self.workers.get(said.container)
        if worker is None:
            return
        record = self.functions[worker.function]
        record.touched = True
        for part in reversed(said.parts):
            record.line.give_back(worker.id, part)
        # What it is kept by may be an input that runs elsewhere by now: then it has nothing in hand that counts.
        worker.yielding = worker.yielding and bool(record.line.leases.get(worker.id))
        self.go_on(record, worker)
        self.feed(record)

    def ended(self, container: ContainerId, end: ContainerEnd) -> None:
        """A container is gone: its inputs run again or end, as `scheduling.loss` says."""
        worker = self.workers.pop(container, None)
        if worker is None:
            return
        record = self.functions[worker.function]
        record.touched = True
        record.workers.pop(container, None)
        if worker in record.free:
            record.free.remove(worker)
        if not worker.ready and not worker.retiring:
            self._failed_to_start(record)
        self._apply_loss(record, worker, end)
        self.feed(record)
        self._out.note(record)
        self._out.wake()

    # -- inside

    def _retry(self, record: Record, container: ContainerId, one: Segment) -> bool:
        line = record.line.calls.get(one.call)
        if line is None:
            return False
        raised = line.raises.get(one.start, 0) + 1
        delay_s = delay_after_raise_s(
            record.function.retries, raised=raised, of=input_id(one.call, one.start)
        )
        if delay_s is None or not record.line.put_off(container, one):
            return False
        line.raises[one.start] = raised
        self._clock.later(delay_s, self._again, record, one)
        return True

    def _again(self, record: Record, one: Segment) -> None:
        if self.functions.get(record.function.id) is record:
            record.touched = True
            record.line.again(one)
            self.feed(record)
            self._out.note(record)

    def _deliver(self, record: Record, container: ContainerId, part: Segment, began_s: float) -> None:
        worker = self.workers.get(container)
        ready_s = worker.ready_s if worker is not None else 0.0
        for start, stop in record.line.finish(container, part):
            answer = Answer(part.call, start, stop, container, began_s, ready_s)
            if part.call in self.durable:
                self.keep(answer, worker, worker.seen if worker is not None else 0)
            else:
                self._out.answer(answer)
        self._end_if_done(record, part.call)

    def _end_if_done(self, record: Record, call: CallId) -> None:
        line = record.line.calls.get(call)
        if line is not None and line.done:
            record.line.drop(call)

    def _failed_to_start(self, record: Record) -> None:
        record.start_failures += 1
        record.not_before_s = self._clock.now_s + min(5.0, 0.1 * 2**record.start_failures)
        if record.start_failures < START_TRIES:
            return
        while (lease := record.line.take(NOBODY, 1000)) is not None:
            for part in list(lease.segments):
                self._deliver(record, NOBODY, part, self._clock.now_s)
        record.line.leave(NOBODY)
        record.start_failures = 0

    def _apply_loss(self, record: Record, worker: Worker, end: ContainerEnd) -> None:
        """What the container had in hand runs again or ends, the last of it first: so the line keeps its order."""
        lost = [part for part in record.line.held(worker.id) if record.line.is_current(part)]
        if lost:
            suspect = _suspect(record, lost[0], end)
            once = record.function.at_most_once
            for step in reversed(
                plan_loss(lost, end, suspect, function=record.function.name, at_most_once=once)
            ):
                if isinstance(step, End):
                    self._deliver(record, worker.id, step.part, self._clock.now_s)
                else:
                    record.line.requeue(worker.id, step.part, alone=step.alone)
        record.line.leave(worker.id)


def _suspect(record: Record, first: Segment, end: ContainerEnd) -> Suspect:
    """The input that was being run, and how often its containers have ended: this end is counted."""
    line = record.line.calls.get(first.call)
    kills = losses = 0
    if line is not None and is_own_doing(end):
        kills = line.kills[first.start] = line.kills.get(first.start, 0) + 1
    elif line is not None and end.cause != "killed":
        losses = line.losses[first.start] = line.losses.get(first.start, 0) + 1
    return Suspect(kills=kills, losses=losses)
