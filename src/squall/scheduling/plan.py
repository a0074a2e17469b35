"""Plan: which containers a function starts and which it lets go, at one instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from heapq import heapify, heappop, heappush

from squall.model.ids import ContainerId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.evict import Evictions, Holding, Short, Tenant
from squall.scheduling.gpu_choice import why_none
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
    finds no room, others make room for it as `Evictions.make_room` says.
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
    placing = _Placing(functions, nodes, used, gone)
    placing.take_turns(short)
    return (*steps, *placing.steps)


@dataclass(slots=True)
class _Turn:
    """A function that misses containers, and how far it has come."""

    view: FunctionView
    short: Short
    missing: int
    held: bool = False


class _Placing:
    """Where the containers of one plan go, one after another. gone: those that go already by the same plan."""

    def __init__(
        self,
        functions: tuple[FunctionView, ...],
        nodes: tuple[Node, ...],
        used: Mapping[NodeId, Resources],
        gone: frozenset[ContainerId],
    ) -> None:
        self.steps: list[Step] = []
        self._functions = functions
        self._nodes = nodes
        self._gone = gone
        self._machines = all_of(nodes)
        self._used = dict(used)
        self._types = {node.id: tuple(part.type for part in node.gpus) for node in nodes}
        free = {node.id: node.capacity.minus(used.get(node.id, Resources())) for node in nodes}
        self._room = Room(free, self._types)
        self._started: list[tuple[Short, NodeId, Resources]] = []
        self._evictions: Evictions | None = None

    def take_turns(self, short: Iterable[tuple[FunctionView, int]]) -> None:
        """One container a turn, for the function that holds least; who finds no room is held, and told why."""
        turns: list[tuple[float, int, _Turn]] = []
        for order, (view, missing) in enumerate(short):
            unit = self._unit(view)
            one = Short(function=view.function.id, choices=view.choices, unit=unit)
            turns.append((unit * len(view.alive), order, _Turn(view, one, missing)))
        heapify(turns)
        while turns:
            share, order, turn = heappop(turns)
            if turn.view.held_s > 0:
                self.steps.append(Hold(turn.view.function.id, turn.view.held_why))
            elif (not turn.held and self._start(turn)) or self._make_room(turn):
                turn.missing -= 1
                if turn.missing:
                    heappush(turns, (share + turn.short.unit, order, turn))

    def _start(self, turn: _Turn) -> bool:
        view, one = turn.view, turn.short
        if self._evictions is not None and one.function in self._evictions.givers:
            return False
        near = Near(templates=view.template_on, images=view.image_on)
        for number, wish in enumerate(one.choices):
            node = self._room.find(wish, near)
            if node is not None:
                self._room.take(node, wish.asks)
                self._started.append((one, node, wish.asks))
                if self._evictions is not None:
                    self._evictions.started(one, node, wish.asks)
                self.steps.append(StartOne(one.function, node, number))
                return True
        return False

    def _make_room(self, turn: _Turn) -> bool:
        """Whether room is on its way for one that finds none. It is kept for it: nobody who holds more gets there first."""
        if not turn.held:
            turn.held = True
            if not self._hold(turn):
                return False
        if not turn.view.demand.waiting:
            return False
        if self._evictions is None:
            self._evictions = self._open_books()
        if turn.short.function in self._evictions.givers:
            return False
        made = self._evictions.make_room(turn.short)
        if made is None:
            return False
        self._room.take(made.node, turn.short.choices[made.wish].asks)
        self.steps += [Retire(tenant.id, "room") for tenant in made.going]
        return True

    def _hold(self, turn: _Turn) -> bool:
        """Says why a function has no more containers. Whether some node could hold one."""
        could = any(wish.asks.fits_in(node.capacity) for wish in turn.short.choices for node in self._nodes)
        reason, never = ("no_capacity", not could) if self._nodes else ("no_node", False)
        left = reduce(Resources.plus, (self._room.free(node.id) for node in self._nodes), Resources())
        words = why_none(turn.view.function.gpu, self._nodes, left)
        self.steps.append(Hold(turn.view.function.id, reason, never, words))
        return could

    def _open_books(self) -> Evictions:
        left = dict(self._used)
        for view in self._functions:
            for container in view.containers:
                if container.retiring or container.id in self._gone:
                    takes = container.takes or view.function.asks
                    left[container.node] = left.get(container.node, Resources()).minus(takes)
        room = {node.id: node.capacity.minus(left.get(node.id, Resources())) for node in self._nodes}
        evictions = Evictions([self._holding(view) for view in self._functions], room, self._types)
        for one, node, asks in self._started:
            evictions.started(one, node, asks)
        return evictions

    def _unit(self, view: FunctionView) -> float:
        """What one container of it is of all machines."""
        return share_of(view.choices[0].asks, self._machines, weight=view.weight)

    def _holding(self, view: FunctionView) -> Holding:
        has = [container for container in view.alive if container.id not in self._gone]
        unit = self._unit(view)
        return Holding(
            function=view.function.id,
            share=unit * len(has),
            unit=unit,
            spare=max(0, len(has) - view.function.scaling.min_containers),
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
