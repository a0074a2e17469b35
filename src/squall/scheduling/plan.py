"""Plan: which containers a function starts and which it lets go, at one instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

from squall.model.ids import ContainerId, FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.evict import Holding, Short, Tenant, containers_to_evict
from squall.scheduling.place import Near, Room
from squall.scheduling.scale import desired_containers
from squall.scheduling.share import all_of, share_of
from squall.scheduling.view import ContainerView, FunctionView, Hold, Retire, StartOne, Step

__all__ = ["ContainerView", "FunctionView", "Hold", "Retire", "StartOne", "Step", "plan_capacity"]


def plan_capacity(
    functions: tuple[FunctionView, ...], nodes: tuple[Node, ...], used: dict[NodeId, Resources]
) -> tuple[Step, ...]:
    """The starts and retirements that bring every function to what it wants, within what the nodes have.

    used: what the containers that are there take, by node. Functions take turns, one container a turn, the one that
    holds least of all machines first: a large demand does not starve a small one. Where a function with waiting inputs
    finds no room, others make room for it as `containers_to_evict` says.
    """
    cores = sum(node.cores for node in nodes)
    steps: list[Step] = []
    short: list[tuple[FunctionView, int]] = []
    for view in functions:
        missing, retire = _difference(view, cores=cores)
        steps += [Retire(container) for container in retire]
        if missing > 0:
            short.append((view, missing))
    if not short:
        return tuple(steps)
    gone = frozenset(step.container for step in steps if isinstance(step, Retire))
    placing = _Placing(nodes, used)
    placing.take_turns(short)
    going = placing.evict(functions, gone) if placing.without else ()
    return (*steps, *placing.steps, *(Retire(container, "room") for container in going))


class _Placing:
    """Where the containers of one plan go, one after another."""

    def __init__(self, nodes: tuple[Node, ...], used: Mapping[NodeId, Resources]) -> None:
        self.steps: list[Step] = []
        self.without: list[tuple[FunctionView, int]] = []
        self._nodes = nodes
        self._machines = all_of(nodes)
        self._used = dict(used)
        self._started: set[FunctionId] = set()
        self._room = Room({node.id: node.capacity.minus(used.get(node.id, Resources())) for node in nodes})

    def take_turns(self, short: Iterable[tuple[FunctionView, int]]) -> None:
        """One container a turn, for the function that holds least; those that find no room are held, and why."""
        turns = [
            (self._unit(view) * len(view.alive), order, missing, view)
            for order, (view, missing) in enumerate(short)
        ]
        heapify(turns)
        while turns:
            share, order, missing, view = heappop(turns)
            if view.held_s > 0:
                self.steps.append(Hold(view.function.id, "crash_backoff"))
            elif not self._start(view):
                self._hold(view, missing)
            elif missing > 1:
                heappush(turns, (share + self._unit(view), order, missing - 1, view))

    def evict(
        self, functions: Iterable[FunctionView], gone: frozenset[ContainerId]
    ) -> tuple[ContainerId, ...]:
        """The containers of others that go for those that found no room. gone: those that go already."""
        left = dict(self._used)
        holdings: list[Holding] = []
        for view in functions:
            for container in view.containers:
                if container.retiring or container.id in gone:
                    takes = container.takes or view.function.asks
                    left[container.node] = left.get(container.node, Resources()).minus(takes)
            holdings.append(self._holding(view, gone))
        room = {node.id: node.capacity.minus(left.get(node.id, Resources())) for node in self._nodes}
        short = [
            Short(function=view.function.id, choices=view.choices, unit=self._unit(view), missing=missing)
            for view, missing in self.without
            if view.demand.waiting
        ]
        return containers_to_evict(short, holdings, room) if short else ()

    def _start(self, view: FunctionView) -> bool:
        near = Near(templates=view.template_on, images=view.image_on)
        for number, wish in enumerate(view.choices):
            node = self._room.find(wish, near)
            if node is not None:
                self._room.take(node, wish.asks)
                self._used[node] = self._used.get(node, Resources()).plus(wish.asks)
                self._started.add(view.function.id)
                self.steps.append(StartOne(view.function.id, node, number))
                return True
        return False

    def _hold(self, view: FunctionView, missing: int) -> None:
        never = bool(self._nodes) and not any(
            wish.asks.fits_in(node.capacity) for wish in view.choices for node in self._nodes
        )
        self.steps.append(Hold(view.function.id, "no_capacity" if self._nodes else "no_node", never))
        if self._nodes and not never:
            self.without.append((view, missing))

    def _unit(self, view: FunctionView) -> float:
        """What one container of it is of all machines."""
        return share_of(view.choices[0].asks, self._machines, weight=view.weight)

    def _holding(self, view: FunctionView, gone: frozenset[ContainerId]) -> Holding:
        has = [container for container in view.alive if container.id not in gone]
        unit = self._unit(view)
        # Of whom one comes, none goes: that would be the same container, only colder.
        starts = view.function.id in self._started
        return Holding(
            function=view.function.id,
            share=unit * len(has),
            unit=unit,
            spare=0 if starts else max(0, len(has) - view.function.scaling.min_containers),
            waits=view.demand.waiting > 0,
            tenants=tuple(
                Tenant(
                    id=container.id,
                    node=container.node,
                    takes=container.takes or view.function.asks,
                    idle_s=container.idle_s,
                )
                for container in has
                if not container.starting
            ),
        )


def _difference(view: FunctionView, *, cores: int) -> tuple[int, list[ContainerId]]:
    """How many containers are missing, and which go: those idle longest, once their window is over.

    While one of them has worked within the window, buffer_containers stay on top of those: they are there for the
    next call, and one that came back for each would be worse than none.
    """
    scaling = view.function.scaling
    alive = view.alive
    wanted = desired_containers(view.demand, scaling, cores=cores)
    missing = wanted - len(alive)
    expired = sorted(
        (c for c in alive if c.idle_s is not None and c.idle_s >= scaling.scaledown_window_s),
        key=lambda c: (-(c.idle_s or 0.0), c.id),
    )
    if missing >= 0 or not expired:
        return max(0, missing), []
    fresh = len(alive) - len(expired)
    stay = max(wanted, fresh + scaling.buffer_containers) if fresh else wanted
    return 0, [container.id for container in expired[: max(0, len(alive) - stay)]]
