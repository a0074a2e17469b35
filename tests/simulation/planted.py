"""Twelve bugs, each a planner or a line that is wrong in one place; nothing of ours is patched for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from squall.model.function import Function
from squall.model.ids import ContainerId
from squall.scheduling.inputs import FunctionLine, Lease, Segment
from squall.scheduling.view import ContainerView, FunctionView, Hold, Retire, StartOne, Step
from squall.simulation.policy import Planner, Seen, plan_as_the_server_does


@dataclass(frozen=True, slots=True)
class Bug:
    """A planner and a line of which one is wrong; shows: the invariants that may be the first to break."""

    shows: frozenset[str]
    planner: Planner = plan_as_the_server_does
    line: Callable[[], FunctionLine] = FunctionLine


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


BUGS = {
    "forgets that containers are retiring": Bug(
        frozenset({"retire", "reason", "idle"}), _planned_on(_containers(_nobody_retires))
    ),
    "places beyond what a node has": Bug(
        frozenset({"capacity"}), _planned_on(lambda seen: replace(seen, used={}))
    ),
    "passes over max_containers": Bug(frozenset({"max"}), _planned_on(_functions(_without_ceiling))),
    "starves a function": Bug(frozenset({"reason", "min"}), _starves),
    "loses a requeued input": Bug(frozenset({"one place", "count"}), line=LosesRequeued),
    "retires a container that works": Bug(
        frozenset({"busy", "window", "buffer"}), _planned_on(_containers(_everybody_rests))
    ),
    "keeps a buffer that is one too small": Bug(
        frozenset({"buffer"}), _planned_on(_functions(_smaller_buffer))
    ),
    "never comes to zero": Bug(frozenset({"back to zero"}), _keeps_the_last),
    "leases an input twice": Bug(frozenset({"one place", "count"}), line=LeasesTwice),
    "passes over a hold": Bug(frozenset({"hold"}), _planned_on(_never_held)),
    "believes a late outcome": Bug(frozenset({"one place", "count", "fence"}), line=BelievesEverybody),
    "ends a window too early": Bug(frozenset({"window"}), _planned_on(_functions(_half_a_window))),
}
