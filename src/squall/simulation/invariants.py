"""Invariants: what holds after every event and for every plan of a run, looked at from outside the planner."""

from __future__ import annotations

from collections import Counter

from squall.model.container import ContainerState
from squall.model.ids import CallId, ContainerId, NodeId
from squall.model.resources import Resources
from squall.scheduling.inputs import CallLine
from squall.scheduling.scale import PLATFORM_MOST
from squall.scheduling.view import ContainerView, FunctionView, Hold, Retire, StartOne, Step
from squall.simulation.policy import Seen
from squall.simulation.records import Record
from squall.simulation.run import World

LONGEST_WAIT_S = 900.0


class BrokenError(AssertionError):
    """Something does not hold. what: which invariant, in a word or two."""

    def __init__(self, what: str, told: str) -> None:
        super().__init__(f"{what}: {told}")
        self.what = what


def check_plan(seen: Seen, steps: tuple[Step, ...]) -> None:
    """Raises BrokenError for a plan that breaks a promise; `seen` is what the planner was shown, and `steps` its answer."""
    starts: Counter[str] = Counter()
    holds = {step.function: step for step in steps if isinstance(step, Hold)}
    going = [step for step in steps if isinstance(step, Retire)]
    if steps:
        views = {view.function.id: view for view in seen.functions}
        free = {node.id: node.capacity.minus(seen.used.get(node.id, Resources())) for node in seen.nodes}
    for step in steps:
        if isinstance(step, StartOne):
            _check_start(step, views[step.function], free)
            starts[step.function] += 1
    if going:
        _check_going(going, seen)
    gone = {step.container for step in going}
    for view in seen.functions:
        alive = view.alive
        _check_bounds((view, alive), starts[view.function.id], gone, held=view.function.id in holds)
        if view.demand.waiting and not alive:
            _check_reason(view, starts[view.function.id], holds.get(view.function.id))
    for hold in holds.values():
        others = {other.function for other in holds.values() if other.function != hold.function}
        promised = any(views[name].demand.waiting for name in others)
        _check_hold(hold, views[hold.function], seen, free if not promised else {})


def check_step(world: World) -> None:
    """Raises BrokenError where something does not hold between two events of a run."""
    if world.untrue:
        raise BrokenError("record", world.untrue)
    if world.callers.doubled:
        raise BrokenError("fence", f"an outcome came a second time: {world.callers.doubled[0]}")
    if not world.cluster.up:
        return
    woken = world.planning.woken
    for record in world.serving.functions.values():
        if record.touched:
            record.touched = False
            _check_line(record, world)
        if record.line.waiting and not woken:
            _check_waiting(record, world)
    for link in world.cluster.links.values():
        machine = link.machine
        # What goes takes nothing more: only what comes can be too much.
        if not machine.touched:
            continue
        machine.touched = False
        if machine.crowded:
            raise BrokenError(
                "capacity", f"{machine.node.id} runs {machine.used}, and has {machine.node.capacity}"
            )


def check_end(world: World) -> None:
    """Raises BrokenError where a run that is over has not come to rest."""
    if world.callers.open:
        left = {call.id: call.left for call in world.callers.open.values()}
        raise BrokenError("lost", f"these calls never ended, with so many inputs left: {left}")
    if not world.rested:
        left_over = {name: worker.state for name, worker in world.serving.workers.items()}
        raise BrokenError("back to zero", f"these containers never went: {left_over}")
    for record in world.serving.functions.values():
        line = record.line
        if line.waiting or line.leased or line.calls or any(line.leases.values()):
            raise BrokenError(
                "lost", f"the line of {record.function.name} holds something that nobody waits for"
            )


# -- of a plan


def _check_start(step: StartOne, view: FunctionView, free: dict[NodeId, Resources]) -> None:
    name = view.function.name
    if view.held_s > 0:
        raise BrokenError("hold", f"{name} starts a container though it is held for {view.held_s:.3f} s")
    if step.node not in free:
        raise BrokenError("node", f"{name} starts a container on {step.node}, which does not answer")
    asks = view.choices[step.wish].asks
    if not asks.fits_in(free[step.node]):
        raise BrokenError(
            "capacity", f"{name} starts a container of {asks} on {step.node} with {free[step.node]}"
        )
    free[step.node] = free[step.node].minus(asks)


def _check_going(going: list[Retire], seen: Seen) -> None:
    known = {container.id: (view, container) for view in seen.functions for container in view.containers}
    if len({step.container for step in going}) < len(going):
        raise BrokenError("retire", "a container is let go twice in one plan")
    for step in going:
        view, container = known[step.container]
        window_s = view.function.scaling.scaledown_window_s
        if container.retiring:
            raise BrokenError("retire", f"{container.id} is let go a second time")
        if step.why == "room":
            continue
        if container.idle_s is None:
            raise BrokenError(
                "busy", f"{container.id} of {view.function.name} is let go while it works or starts"
            )
        if container.idle_s < window_s - 1e-6:
            raise BrokenError(
                "window", f"{container.id} is let go after {container.idle_s:.3f} s of {window_s} s"
            )


def _check_bounds(
    shown: tuple[FunctionView, tuple[ContainerView, ...]], starts: int, gone: set[ContainerId], *, held: bool
) -> None:
    view, there = shown
    scaling, name = view.function.scaling, view.function.name
    alive = [container for container in there if container.id not in gone] if gone else there
    ceiling = scaling.max_containers if scaling.max_containers is not None else PLATFORM_MOST
    if starts and len(alive) + starts > max(ceiling, scaling.min_containers):
        raise BrokenError("max", f"{name} would have {len(alive) + starts} containers, of {ceiling} at most")
    if len(there) > len(alive) and len(alive) < scaling.min_containers:
        raise BrokenError(
            "min", f"{name} would be left with {len(alive)}, and keeps {scaling.min_containers}"
        )
    if held or gone or starts:
        return
    if len(alive) < scaling.min_containers:
        raise BrokenError("min", f"{name} has {len(alive)} containers, and keeps {scaling.min_containers}")
    if not scaling.buffer_containers or not view.demand.leased or view.demand.waiting:
        return
    busy = sum(container.idle_s is None for container in alive)
    idle = len(alive) - busy
    quiet = not any(c.starting or c.silent or c.retiring for c in view.containers)
    if quiet and idle < min(scaling.buffer_containers, ceiling - busy):
        raise BrokenError(
            "buffer", f"{name} has {idle} idle containers, and a buffer of {scaling.buffer_containers}"
        )


def _check_reason(view: FunctionView, starts: int, hold: Hold | None) -> None:
    """Whoever waits has a container, gets one, or is told why not. view: of one that waits and has none."""
    if not starts and hold is None:
        raise BrokenError("reason", f"{view.function.name} waits, has no container, and is told nothing")


def _check_hold(hold: Hold, view: FunctionView, seen: Seen, free: dict[NodeId, Resources]) -> None:
    """A reason is true. free: what is left; nothing where it may be promised to another that waits without room."""
    fits = any(wish.asks.fits_in(amount) for wish in view.choices for amount in free.values())
    ever = any(wish.asks.fits_in(node.capacity) for wish in view.choices for node in seen.nodes)
    true = {
        "crash_backoff": view.held_s > 0,
        "no_node": not seen.nodes,
        "no_capacity": bool(seen.nodes) and not fits,
    }
    if not true.get(hold.reason, False):
        raise BrokenError("reason", f"{view.function.name} is held for {hold.reason}, and that is not so")
    if hold.never and (ever or not seen.nodes):
        raise BrokenError("reason", f"{view.function.name} is told that it never fits, and it would")


# -- of a line


def _check_line(record: Record, world: World) -> None:
    """Every input of every call is in one place: ended, delayed, or in one run of those that wait or are leased."""
    line = record.line
    runs: dict[CallId, list[tuple[int, int]]] = {
        call.id: [(part.start, part.stop) for part in call.waiting] for call in line.calls.values()
    }
    waiting = sum(stop - start for places in runs.values() for start, stop in places)
    leased = 0
    for container, leases in line.leases.items():
        for part in (part for lease in leases for part in lease.segments):
            leased += len(part)
            if container not in record.workers:
                raise BrokenError("lease", f"{container} holds inputs, and is not there")
            if part.call in runs:
                runs[part.call].append((part.start, part.stop))
    if (waiting, leased) != (line.waiting, line.leased):
        told = f"{waiting} inputs wait and {leased} are leased; counted are {line.waiting} and {line.leased}"
        raise BrokenError("count", told)
    for call in line.calls.values():
        _check_call(call, sorted(runs[call.id]))
        if call.id not in world.callers.open:
            raise BrokenError("lost", f"the line holds {call.id}, and nobody waits for it")


def _check_call(call: CallLine, runs: list[tuple[int, int]]) -> None:
    placed, last = call.ended_count + len(call.delayed), 0
    for start, stop in runs:
        placed += stop - start
        if start < last or call.ended.find(1, start, stop) >= 0:
            raise BrokenError("one place", f"inputs {start} to {stop} of {call.id} are in two places")
        last = stop
    if placed != call.submitted or call.ended.count(1) != call.ended_count:
        raise BrokenError("one place", f"of {call.submitted} inputs of {call.id}, {placed} are somewhere")


def _check_waiting(record: Record, world: World) -> None:
    """Nothing waits beside a free container, without a reason, or for ever."""
    name, workers = record.function.name, record.workers.values()
    idle = [w.id for w in workers if w.ready and w.alive and w.state is ContainerState.IDLE]
    if idle:
        raise BrokenError(
            "idle", f"{record.line.waiting} inputs of {name} wait beside {idle[0]}, which is idle"
        )
    if not record.hold and not any(worker.alive for worker in workers):
        raise BrokenError("reason", f"{record.line.waiting} inputs of {name} wait, and nothing is on its way")
    waited_s = world.clock.now_s - record.waiting_since_s
    if waited_s > LONGEST_WAIT_S:
        raise BrokenError("starved", f"inputs of {name} wait for {waited_s:.0f} s")
