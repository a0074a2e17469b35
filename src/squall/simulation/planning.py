"""Planning: the simulated server's control path: looks, has the policy plan, tells machines, as `server/capacity.py`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from squall.model.container import ContainerState, WaitReason, WantedContainer
from squall.model.ids import ContainerId, FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.scale import RAMP_S, Demand
from squall.scheduling.view import ContainerView, FunctionView, Hold, Retire, StartOne, Step
from squall.simulation.clock import Clock, Timer
from squall.simulation.policy import Policy, Seen
from squall.simulation.records import Record, Worker
from squall.simulation.serving import SLOW_S, Serving

LEAST_LOOK_S = 0.02
IDLE_LOOK_S = 0.5


@dataclass(slots=True)
class Count:
    """What the control path did: plans, and of each function the instants of its starts and retirements, and how far
    its containers outnumbered its inputs at most.
    """

    plans: int = 0
    started: dict[FunctionId, list[float]] = field(default_factory=dict)
    retired: dict[FunctionId, list[float]] = field(default_factory=dict)
    over: dict[FunctionId, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ties:
    """What the control path reaches: nodes() that answer, tell(node, wanted), make_way(worker), and planned(seen,
    steps), which is shown every plan before it is carried out.
    """

    nodes: Callable[[], tuple[Node, ...]]
    tell: Callable[[NodeId, tuple[WantedContainer, ...]], None]
    make_way: Callable[[Worker], None]
    planned: Callable[[Seen, tuple[Step, ...]], None]


class Planning:
    """Keeps the number of containers right. `wake` may be called as often as one likes."""

    def __init__(self, clock: Clock, serving: Serving, policy: Policy, ties: Ties) -> None:
        self.count = Count()
        self._clock = clock
        self._serving = serving
        self._policy = policy
        self._ties = ties
        self._next: Timer | None = None
        self._woken = False
        self._containers = 0

    @property
    def woken(self) -> bool:
        """Whether it will look at this very instant."""
        return self._woken

    def wake(self) -> None:
        """Something has changed: look again."""
        if not self._woken:
            self._woken = True
            self._clock.later(0.0, self._look_again)

    def stop(self) -> None:
        """The server is gone: nothing is looked at any more."""
        self._woken = True
        if self._next is not None:
            self._next.cancel()

    def go_on(self) -> None:
        """A server is there again."""
        self._woken = False
        self.wake()

    def expect(self, record: Record, node: NodeId, name: ContainerId | None = None) -> Worker:
        """A container that has been wanted, or that a machine already has: not ready yet."""
        self._containers += 1
        now = self._clock.now_s
        worker = Worker(
            id=name or ContainerId(f"co-{self._containers}"),
            function=record.function.id,
            node=node,
            created_s=now,
            idle_since_s=now,
            progress_s=now,
            beside=1
            + sum(not other.ready and not other.retiring for other in self._serving.workers.values()),
        )
        record.workers[worker.id] = worker
        self._serving.workers[worker.id] = worker
        return worker

    def tell(self) -> None:
        """Tells every machine its whole wanted set."""
        wanted: dict[NodeId, list[WantedContainer]] = {node.id: [] for node in self._ties.nodes()}
        for worker in self._serving.workers.values():
            if worker.node in wanted and worker.state is not ContainerState.STOPPING:
                function = self._serving.functions[worker.function].function
                wanted[worker.node].append(WantedContainer(id=worker.id, function=function))
        for node, containers in wanted.items():
            self._ties.tell(node, tuple(containers))

    def look(self) -> Seen:
        """What a policy is shown now."""
        now = self._clock.now_s
        functions = self._serving.functions
        there = Counter((worker.node, worker.function) for worker in self._serving.workers.values())
        used: dict[NodeId, Resources] = {}
        for (node, function), count in there.items():
            asks = functions[function].function.asks
            taken = Resources(cpu_milli=count * asks.cpu_milli, memory_mib=count * asks.memory_mib)
            used[node] = used[node].plus(taken) if node in used else taken
        views = tuple(_view(record, now) for record in self._serving.functions.values())
        return Seen(functions=views, nodes=self._ties.nodes(), used=used, now_s=now)

    # -- inside

    def _look_again(self) -> None:
        self._woken = False
        self.count.plans += 1
        seen = self.look()
        self._serving.cores = max(1, sum(node.cores for node in seen.nodes))
        steps = self._policy.plan(seen)
        self._ties.planned(seen, steps)
        changed = self._carry_out(steps)
        for record in self._serving.functions.values():
            self._keep_time(record)
            self._count_over(record)
        if self._drop_retiring() or changed:
            self.tell()
        self._plan_next_look()

    def _carry_out(self, steps: tuple[Step, ...]) -> bool:
        changed = False
        for record in self._serving.functions.values():
            record.hold = ""
        for step in steps:
            match step:
                case StartOne(function=function, node=node):
                    self.expect(self._serving.functions[function], node)
                    self.count.started.setdefault(function, []).append(self._clock.now_s)
                    changed = True
                case Retire(container=container):
                    self._retire(self._serving.workers[container])
                    changed = True
                case Hold(function=function, reason=reason):
                    self._serving.functions[function].hold = reason
        return changed

    def _count_over(self, record: Record) -> None:
        alive = sum(worker.alive for worker in record.workers.values())
        over = alive - record.line.waiting - record.line.leased
        name = record.function.id
        self.count.over[name] = max(over, self.count.over.get(name, 0))

    def _retire(self, worker: Worker) -> None:
        worker.retiring = True
        record = self._serving.functions[worker.function]
        if worker in record.free:
            record.free.remove(worker)
        self.count.retired.setdefault(worker.function, []).append(self._clock.now_s)
        self._make_way(worker)

    def _keep_time(self, record: Record) -> None:
        """A container that is kept by one input gives back the others."""
        since_s = self._clock.now_s - SLOW_S
        for worker in record.workers.values():
            if worker.progress_s <= since_s and not worker.silent and _holds_several(record, worker):
                self._make_way(worker)

    def _make_way(self, worker: Worker) -> None:
        """A container gives back what it has not begun."""
        if worker.state is ContainerState.BUSY and not worker.yielding:
            worker.yielding = True
            self._ties.make_way(worker)

    def _drop_retiring(self) -> bool:
        """Containers that shall go and have nothing in hand are no longer wanted."""
        changed = False
        for worker in self._serving.workers.values():
            leases = self._serving.functions[worker.function].line.leases.get(worker.id)
            if worker.retiring and not leases and worker.state is not ContainerState.STOPPING:
                worker.state = ContainerState.STOPPING
                changed = True
        return changed

    def _plan_next_look(self) -> None:
        now = self._clock.now_s
        due = [self._policy.due_s(now)]
        for record in self._serving.functions.values():
            if record.line.waiting:
                due.append(max(record.not_before_s, now + RAMP_S))
            elif record.hold == WaitReason.CRASHING:
                due.append(record.not_before_s)
            window_s = record.function.scaling.scaledown_window_s
            for worker in record.workers.values():
                if worker.state is ContainerState.IDLE and not worker.retiring:
                    due.append(worker.idle_since_s + window_s)
                elif worker.state is ContainerState.BUSY and not worker.yielding:
                    if _holds_several(record, worker):
                        due.append(worker.progress_s + SLOW_S)
                    else:
                        due.append(worker.progress_s + record.function.timeout_s)
        soonest = min(due)
        self._serving.next_look_s = soonest
        if self._next is not None:
            self._next.cancel()
        if soonest < math.inf:
            least_s = LEAST_LOOK_S if soonest > now else IDLE_LOOK_S
            self._next = self._clock.later(max(least_s, soonest - now), self.wake)


def _view(record: Record, now: float) -> FunctionView:
    line = record.line
    containers = tuple(
        ContainerView(
            id=worker.id,
            node=worker.node,
            idle_s=now - worker.idle_since_s if worker.state is ContainerState.IDLE else None,
            retiring=worker.retiring,
            starting=not worker.ready,
            silent=worker.silent,
        )
        for worker in record.workers.values()
    )
    ready = [worker.ready for worker in record.workers.values() if worker.alive]
    demand = Demand(
        waiting=line.waiting,
        leased=line.leased,
        mean_s=record.pace.mean_s,
        oldest_wait_s=now - record.waiting_since_s if line.waiting else 0.0,
        containers=len(ready),
        starting=ready.count(False),
        arrivals_per_s=record.arrivals.per_s(now),
        quiet_s=now - record.heard_s if line.leased else 0.0,
        start_s=record.starts.wall_s,
        start_core_s=record.starts.core_s,
    )
    return FunctionView(
        function=record.function,
        demand=demand,
        containers=containers,
        held_s=max(0.0, record.not_before_s - now),
    )


def _holds_several(record: Record, worker: Worker) -> bool:
    leases = record.line.leases.get(worker.id)
    return leases is not None and sum([lease.count for lease in leases]) > 1
