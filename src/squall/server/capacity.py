"""Capacity: the control path. Looks at every function, plans containers, tells the nodes. Woken by events only."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace

from squall.context.fresh import fresh_id
from squall.model.container import ContainerState, WaitReason, WantedContainer
from squall.model.errors import NoNodeFits
from squall.model.gpu import Gpus, added, in_words
from squall.model.ids import CONTAINER, ContainerId, FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.gpu_choice import wishes
from squall.scheduling.inputs import Lease
from squall.scheduling.plan import plan_capacity
from squall.scheduling.scale import PLATFORM_MOST, RAMP_S, Demand
from squall.scheduling.view import ContainerView, FunctionView, Hold, Retire, StartOne
from squall.server import hands
from squall.server.calls import SLOW_S, Calls
from squall.server.containers import Containers
from squall.server.nodes import Nodes, Unwanted
from squall.server.outcome_runs import error_text
from squall.server.records import FunctionRecord, Worker
from squall.server.telling import interrupt

TIMEOUT_GRACE_S = hands.GRACE_S


class Capacity:
    """Keeps the number of containers right. `wake` may be called from anywhere on the loop, as often as one likes."""

    def __init__(self, calls: Calls, nodes: Nodes, *, clock: Callable[[], float]) -> None:
        self._calls = calls
        self._nodes = nodes
        self._clock = clock
        self._woken = asyncio.Event()
        self.containers: Containers
        self.placed: dict[ContainerId, NodeId] = {}
        self.placed_on: Callable[[NodeId, FunctionRecord], None] = lambda _node, _record: None
        self.looked: Callable[[], None] = lambda: None
        self.returning_s: Callable[[], float] = lambda: 0.0
        self.most_containers = PLATFORM_MOST
        self.keep: Callable[[NodeId], tuple[ContainerId, ...]] = lambda _node: ()

    def wake(self) -> None:
        """Something has changed: look again."""
        self._woken.set()

    async def run(self) -> None:
        """Plans whenever it is woken, and when the next instant comes at which something may be due."""
        while True:
            due_s = self.plan_once()
            try:
                async with asyncio.timeout(due_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()

    def plan_once(self) -> float | None:
        """Look, plan, tell. Seconds until it has to look again by itself; None: not before something happens."""
        now = self._clock()
        nodes = self._nodes.nodes()
        records = self._calls.functions
        views = tuple(
            self._look(record, now, nodes) for record in records.values() if record.function.is_bound
        )
        views_by = {view.function.id: view for view in views}
        changed = False
        starting = sum(not worker.ready and not worker.retiring for worker in self._calls.workers.values())
        for record in records.values():
            record.wait_reason = record.wait_words = ""
        for step in plan_capacity(views, nodes, self._used()):
            match step:
                case StartOne(function=function, node=node, wish=wish):
                    records[function].wait_reason = "container_starting"
                    starting += 1
                    self._start(
                        records[function], node, beside=starting, gpus=views_by[function].choices[wish].gpus
                    )
                    changed = True
                case Retire(container=container):
                    self.retire(self._calls.workers[container])
                    # What makes room and still works gives back what it has not begun.
                    self._calls.make_way(self._calls.workers[container])
                    changed = True
                case Hold(function=function, reason=reason, never=never, words=words):
                    records[function].wait_reason, records[function].wait_words = reason, words
                    if never:
                        self._refuse(records[function])
        for record in list(records.values()):
            changed |= self._keep_time(record, now)
        changed |= self._drop_retiring()
        if changed:
            self.tell()
        self.looked()
        due_s = self._next_look(now)
        self._calls.next_look_s = math.inf if due_s is None else now + due_s
        return due_s

    def expect(self, record: FunctionRecord, until_s: float) -> None:
        """A function is to have a container ready, for a call that is to come."""
        record.expected_until_s = max(record.expected_until_s, until_s)
        self.wake()

    def retire(self, worker: Worker) -> None:
        """A container gets no more inputs, and goes when it has none in hand."""
        worker.retiring = True
        record = self._calls.functions.get(worker.function)
        if record is not None and worker in record.free:
            record.free.remove(worker)
        self.wake()

    def stop(self, worker: Worker) -> None:
        """A container goes now, with the grace that is everybody's; what it had in hand runs again elsewhere."""
        worker.retiring = True
        worker.state = ContainerState.STOPPING
        self.tell()

    def kill(self, worker: Worker) -> None:
        """A container goes at once, whatever it does."""
        worker.killed = True
        self.stop(worker)

    def tell(self) -> None:
        """Tells every node its whole wanted set."""
        known = tuple(self._calls.functions)
        for node in self._nodes.nodes():
            wanted = tuple(
                WantedContainer(
                    id=worker.id,
                    function=self._calls.functions[worker.function].function,
                    gpus=worker.gpus,
                )
                for worker in self._calls.workers.values()
                if self.placed.get(worker.id) == node.id
                and worker.state is not ContainerState.STOPPING
                and worker.function in self._calls.functions
            )
            kill = tuple(worker.id for worker in self._calls.workers.values() if worker.killed)
            self._nodes.tell(node.id, wanted, Unwanted(keep=self.keep(node.id), kill=kill, known=known))

    def _start(self, record: FunctionRecord, node: NodeId, *, beside: int, gpus: Gpus | None) -> None:
        container = ContainerId(fresh_id(CONTAINER))
        worker = self.containers.expect(container, record)
        worker.beside, worker.gpus = beside, gpus
        worker.cores = sum(node.cores for node in self._nodes.nodes())
        self.placed[container] = node
        self.placed_on(node, record)

    def _refuse(self, record: FunctionRecord) -> None:
        """No node can ever hold it: who waits is told at once, with what there is."""
        nodes = self._nodes.nodes()
        largest = max((node.capacity for node in nodes), key=lambda c: c.cpu_milli, default=Resources())
        function = record.function
        asks, has = str(function.asks), f"the largest has {largest}"
        if function.gpu:
            there = added((), tuple(part for node in nodes for part in node.gpus))
            asks = f"{asks} and {in_words(function.gpu)}"
            has = f"{has}; GPUs on all machines: {', '.join(map(str, there)) or 'none'}"
        error = NoNodeFits(f"no node can ever hold {asks} for {function.name}; {has}")
        self._calls.fail_waiting(record, error_text(error))

    def _look(self, record: FunctionRecord, now: float, nodes: tuple[Node, ...]) -> FunctionView:
        crashing_s, returning_s = max(0.0, record.crashing_until_s - now), self.returning_s()
        scaling = record.bounds or record.function.scaling
        if record.refused is not None and record.bounds is None:
            # Its budget is used up: nothing is kept that has nothing to do.
            scaling = replace(scaling, min_containers=0, buffer_containers=0)
        if scaling.max_containers is None and self.most_containers != PLATFORM_MOST:
            # Without a ceiling of its own it has the platform's.
            ceiling = max(self.most_containers, scaling.min_containers)
            scaling = replace(scaling, max_containers=ceiling)
        return FunctionView(
            function=record.function
            if scaling is record.function.scaling
            else replace(record.function, scaling=scaling),
            demand=self._demand(record, now),
            containers=tuple(
                ContainerView(
                    id=worker.id,
                    node=self.placed.get(worker.id, NodeId("")),
                    idle_s=now - worker.idle_since_s if worker.state is ContainerState.IDLE else None,
                    retiring=worker.retiring,
                    starting=not worker.ready,
                    silent=worker.silent,
                    takes=_takes(record, worker),
                )
                for worker in record.workers.values()
            ),
            held_s=max(crashing_s, returning_s),
            held_why=WaitReason.RETURNING if returning_s > crashing_s else WaitReason.CRASHING,
            wishes=wishes(record.function, nodes),
            template_on=frozenset(record.template_on),
            image_on=frozenset(record.image_on),
        )

    def _demand(self, record: FunctionRecord, now: float) -> Demand:
        line = record.line
        counted = [worker for worker in record.workers.values() if not worker.retiring and not worker.silent]
        return Demand(
            # For what rests until a budget opens, also on record, there is to be no container.
            waiting=record.pending if record.refused is None else line.waiting,
            leased=line.leased,
            mean_s=record.pace.mean_s,
            oldest_wait_s=now - record.waiting_since_s if line.waiting else 0.0,
            containers=len(counted),
            starting=sum(not worker.ready for worker in counted),
            slots=record.function.max_inputs,
            target_inputs=record.function.target_inputs,
            arrivals_per_s=record.arrivals.per_s(now),
            quiet_s=now - record.heard_s if line.leased else 0.0,
            start_s=record.starts.wall_s,
            start_core_s=record.starts.core_s,
            expected=int(now < record.expected_until_s),
        )

    def _used(self) -> dict[NodeId, Resources]:
        used: dict[NodeId, Resources] = {node.id: node.out for node in self._nodes.nodes()}
        for worker in self._calls.workers.values():
            record = self._calls.functions.get(worker.function)
            node = self.placed.get(worker.id)
            if record is not None and node is not None:
                used[node] = used.get(node, Resources()).plus(_takes(record, worker))
        return used

    def _keep_time(self, record: FunctionRecord, now: float) -> bool:
        """Interrupts inputs whose time is up, and ends containers that do not give way."""
        changed = False
        for worker in list(record.workers.values()):
            if not worker.ready:
                if not worker.retiring and now - worker.created_s > record.function.startup_timeout_s:
                    self.containers.startup_timed_out(record, worker)
                    changed = True
                continue
            leases = record.line.leases.get(worker.id)
            if not leases or worker.state is not ContainerState.BUSY:
                continue
            if record.function.side_by_side:
                changed |= hands.keep_time(record, worker, now)
                continue
            if now - worker.progress_s >= SLOW_S and _holds_several(record, leases):
                self._calls.make_way(worker)
            over = now - worker.progress_s - record.function.timeout_s
            if over >= 0 and worker.interrupted_s is None:
                worker.interrupted_s = now
                first = leases[0].segments[0]
                interrupt(worker, first, why="timeout")
            elif worker.interrupted_s is not None and now - worker.interrupted_s > TIMEOUT_GRACE_S:
                worker.state = ContainerState.STOPPING
                worker.retiring = worker.killed = True
                changed = True
        return changed

    def _drop_retiring(self) -> bool:
        """Containers that shall go and have nothing in hand are no longer wanted."""
        changed = False
        for worker in self._calls.workers.values():
            record = self._calls.functions.get(worker.function)
            leases = record.line.leases.get(worker.id) if record is not None else None
            if worker.retiring and not leases and worker.state is not ContainerState.STOPPING:
                worker.state = ContainerState.STOPPING
                changed = True
        return changed

    def _next_look(self, now: float) -> float | None:
        due: list[float] = []
        for record in self._calls.functions.values():
            function = record.function
            if record.line.waiting:
                due.append(max(record.not_before_s, now + RAMP_S))
            elif now < record.expected_until_s:
                due.append(record.expected_until_s)
            elif record.wait_reason == WaitReason.RETURNING:
                due.append(now + self.returning_s())
            elif record.wait_reason == WaitReason.CRASHING:
                # Nothing waits, and yet a container is missing: one of those that are kept.
                due.append(record.crashing_until_s)
            for worker in record.workers.values():
                if worker.state is ContainerState.IDLE and not worker.retiring:
                    due.append(worker.idle_since_s + function.scaling.scaledown_window_s)
                elif worker.interrupted_s is not None:
                    due.append(worker.interrupted_s + TIMEOUT_GRACE_S)
                elif not worker.ready:
                    due.append(worker.created_s + function.startup_timeout_s)
                elif worker.state is ContainerState.BUSY and function.side_by_side:
                    due.append(hands.due_s(record, worker))
                elif worker.state is ContainerState.BUSY:
                    slow = not worker.yielding and _holds_several(
                        record, record.line.leases.get(worker.id, [])
                    )
                    due.append(worker.progress_s + (SLOW_S if slow else function.timeout_s))
        # Windows of containers that stay (min_containers) are over for good: look at those once a second at most.
        soonest = min(due, default=math.inf)
        return None if soonest == math.inf else max(0.02 if soonest > now else 0.5, soonest - now)

    def functions_waiting(self) -> dict[FunctionId, str]:
        """Why inputs wait, for each function that has waiting ones."""
        return {
            name: record.wait_reason or "containers_busy"
            for name, record in self._calls.functions.items()
            if record.line.waiting
        }


def _takes(record: FunctionRecord, worker: Worker) -> Resources:
    """What a container takes of its node."""
    return record.function.asks.with_gpus(*(() if worker.gpus is None else (worker.gpus,)))


def _holds_several(record: FunctionRecord, leases: list[Lease]) -> bool:
    """Whether it may have some that it has not begun."""
    return not record.function.begins_all and sum(lease.count for lease in leases) > 1
