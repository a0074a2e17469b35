"""Bugs: each a planner, a line, a disk or a reader that is wrong in one place; nothing of ours is patched for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from squall.model.function import Function
from squall.model.ids import CallId, ContainerId
from squall.scheduling.inputs import FunctionLine, Lease, Segment
from squall.scheduling.view import ContainerView, FunctionView, Hold, Retire, StartOne, Step
from squall.simulation.again import Reader
from squall.simulation.clock import Clock
from squall.simulation.disk import Disk, Row
from squall.simulation.policy import Planner, Seen, plan_as_the_server_does
from squall.simulation.records import Worker
from squall.simulation.sweep import Tested


@dataclass(frozen=True, slots=True)
class Bug:
    """Something wrong that is put to the test; shows: the invariants that may be the first to break."""

    shows: frozenset[str]
    tested: Tested


def _planner(shows: set[str], planner: Planner) -> Bug:
    return Bug(frozenset(shows), Tested(planner=planner))


def _line(shows: set[str], line: Callable[[], FunctionLine]) -> Bug:
    return Bug(frozenset(shows), Tested(line=line))


def _disk(shows: set[str], disk: Callable[[Clock], Disk]) -> Bug:
    return Bug(frozenset(shows), Tested(disk=disk))


def _reader(shows: set[str], reader: Callable[[], Reader]) -> Bug:
    return Bug(frozenset(shows), Tested(reader=reader))


def _planned_on(change: Callable[[Seen], Seen]) -> Planner:
    """The real planner, shown something else."""
    return lambda seen: plan_as_the_server_does(change(seen))


def _functions(change: Callable[[Function], Function]) -> Callable[[Seen], Seen]:
    return lambda seen: replace(
        seen, functions=tuple(replace(view, function=change(view.function)) for view in seen.functions)
    )


def _containers(change: Callable[[ContainerView], ContainerView]) -> Callable[[Seen], Seen]:
    return lambda seen: replace(
        seen,
        functions=tuple(
            replace(view, containers=tuple(map(change, view.containers))) for view in seen.functions
        ),
    )


def _without_ceiling(function: Function) -> Function:
    return replace(function, scaling=replace(function.scaling, max_containers=None))


def _smaller_buffer(function: Function) -> Function:
    buffer = max(0, function.scaling.buffer_containers - 1)
    return replace(function, scaling=replace(function.scaling, buffer_containers=buffer))


def _half_a_window(function: Function) -> Function:
    window_s = max(2.0, function.scaling.scaledown_window_s / 2)
    return replace(function, scaling=replace(function.scaling, scaledown_window_s=window_s))


def _nobody_retires(container: ContainerView) -> ContainerView:
    return replace(container, retiring=False)


def _everybody_rests(container: ContainerView) -> ContainerView:
    """What works looks as if it had been idle for ever."""
    if container.idle_s is None and not container.starting:
        return replace(container, idle_s=math.inf)
    return container


def _never_held(seen: Seen) -> Seen:
    return replace(seen, functions=tuple(replace(view, held_s=0.0) for view in seen.functions))


def _starves(seen: Seen) -> tuple[Step, ...]:
    """While another function gets containers, the last one gets none, and no reason."""
    steps = plan_as_the_server_does(seen)
    if len({step.function for step in steps if isinstance(step, StartOne)}) < 2:
        return steps
    last = seen.functions[-1].function.id
    return tuple(step for step in steps if not (isinstance(step, StartOne | Hold) and step.function == last))


def _keeps_the_last(seen: Seen) -> tuple[Step, ...]:
    """No function ever comes to zero."""
    left = {view.function.id: len(view.alive) for view in seen.functions}
    owner = {one.id: view for view in seen.functions for one in view.containers}
    kept: list[Step] = []
    for step in plan_as_the_server_does(seen):
        if isinstance(step, Retire):
            view: FunctionView = owner[step.container]
            if left[view.function.id] == 1:
                continue
            left[view.function.id] -= 1
        kept.append(step)
    return tuple(kept)


class LosesRequeued(FunctionLine):
    """What a lost container had in hand is taken from it, and put nowhere."""

    def requeue(self, container: ContainerId, lost: Segment, *, alone: bool = False) -> None:
        del alone
        self._release(container, lost)


class LeasesTwice(FunctionLine):
    """The first of several leased inputs stays in line."""

    def take(self, container: ContainerId, most: int) -> Lease | None:
        lease = super().take(container, most)
        if lease is not None and lease.count > 1:
            one = lease.segments[0]
            self._offer(self.calls[one.call], replace(one, stop=one.start + 1), first=True)
        return lease


class BelievesEverybody(FunctionLine):
    """An outcome counts, whoever sends it."""

    def finish(self, container: ContainerId, done: Segment) -> Iterator[tuple[int, int]]:
        self._release(container, done)
        line = self.calls.get(done.call)
        if line is not None:
            line.ended[done.start : done.stop] = b"\x01" * len(done)
            line.ended_count = line.ended.count(1)
            yield done.start, done.stop


class AcknowledgesBeforeTheCommit(Disk):
    """Whoever asks for a call to be put on record is answered once it is written, not once it is committed."""

    def write_call(self, call: CallId, row: Row, then: Callable[[], None]) -> bool:
        if self.refuses:
            return False
        then()
        return super().write_call(call, row, lambda: None)


class TellsBeforeTheCommit(Disk):
    """The same of outcomes."""

    def write_outcomes(self, call: CallId, start: int, stop: int, then: Callable[[], None]) -> bool:
        if self.refuses:
            return False
        then()
        return super().write_outcomes(call, start, stop, lambda: None)


class TakesARefusalForACommit(Disk):
    """What the disk does not take counts as taken."""

    def commit(self, change: Callable[[], None], then: Callable[[], None]) -> bool:
        if self.refuses:
            self._clock.later(0.001, then)
            return True
        return super().commit(change, then)


class ForgetsWhatIsOnRecord(Disk):
    """A new server finds nothing."""

    def known(self) -> dict[CallId, Row]:
        return {}


class MissesNothing(Reader):
    """A lease that was on its way when the connection broke counts as one that came."""

    def missing(self, line: FunctionLine, worker: Worker, holding: Iterable[Segment]) -> list[Segment]:
        del line, worker, holding
        return []


class PassesOverGaps(Reader):
    """Only the very next message of a container is news."""

    def is_news(self, worker: Worker, number: int) -> bool:
        if number and number != worker.seen + 1:
            return False
        return super().is_news(worker, number)


BUGS = {
    "forgets that containers are retiring": _planner(
        {"retire", "reason", "idle"}, _planned_on(_containers(_nobody_retires))
    ),
    "places beyond what a node has": _planner({"capacity"}, _planned_on(lambda seen: replace(seen, used={}))),
    "passes over max_containers": _planner({"max"}, _planned_on(_functions(_without_ceiling))),
    "starves a function": _planner({"reason", "min"}, _starves),
    "retires a container that works": _planner(
        {"busy", "window", "buffer"}, _planned_on(_containers(_everybody_rests))
    ),
    "keeps a buffer that is one too small": _planner({"buffer"}, _planned_on(_functions(_smaller_buffer))),
    "never comes to zero": _planner({"back to zero"}, _keeps_the_last),
    "passes over a hold": _planner({"hold"}, _planned_on(_never_held)),
    "ends a window too early": _planner({"window"}, _planned_on(_functions(_half_a_window))),
    "loses a requeued input": _line({"one place", "count"}, LosesRequeued),
    "leases an input twice": _line({"one place", "count"}, LeasesTwice),
    "believes a late outcome": _line({"one place", "count", "fence", "record"}, BelievesEverybody),
    "acknowledges a call before the commit": _disk({"record"}, AcknowledgesBeforeTheCommit),
    "tells an outcome before the commit": _disk({"record"}, TellsBeforeTheCommit),
    "takes a refusal of the disk for a commit": _disk({"record"}, TakesARefusalForACommit),
    "forgets what is on record": _disk({"lost"}, ForgetsWhatIsOnRecord),
    "does not miss a lease that never came": _reader({"lost", "back to zero", "starved"}, MissesNothing),
    "passes over what comes after a gap": _reader({"lost", "back to zero", "starved"}, PassesOverGaps),
}
