"""Plan: which containers a function starts and which it lets go, at one instant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from squall.model.function import Function
from squall.model.gpu import Gpus
from squall.model.ids import ContainerId, FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.gpu_choice import choices, why_none
from squall.scheduling.place import place
from squall.scheduling.scale import Demand, desired_containers


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerView:
    """One container as the planner sees it. idle_s: seconds it has been idle, None while it is not."""

    id: ContainerId
    node: NodeId
    idle_s: float | None = None
    retiring: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionView:
    """One function, its demand and its containers; held_s: seconds until it may start containers again."""

    function: Function
    demand: Demand
    containers: tuple[ContainerView, ...] = ()
    held_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StartOne:
    """Start a container of this function on this node, with these devices."""

    function: FunctionId
    node: NodeId
    gpus: Gpus | None = None


@dataclass(frozen=True, slots=True)
class Retire:
    """Let this container go."""

    container: ContainerId


@dataclass(frozen=True, slots=True)
class Hold:
    """The function would have more containers: why not, and whether any node could ever hold one; words say more."""

    function: FunctionId
    reason: str
    never: bool = False
    words: str = ""


Step = StartOne | Retire | Hold


def plan_capacity(
    functions: tuple[FunctionView, ...], nodes: tuple[Node, ...], used: dict[NodeId, Resources]
) -> tuple[Step, ...]:
    """The starts and retirements that bring every function to what it wants, within what the nodes have.

    used: what the containers that are there take, by node. Functions take turns, one container a turn, so that a
    large demand does not starve a small one.
    """
    steps: list[Step] = []
    free = {node.id: node.capacity.minus(used.get(node.id, Resources())) for node in nodes}
    short: list[tuple[FunctionView, int]] = []
    for view in functions:
        missing, retire = _difference(view, cores=sum(node.cores for node in nodes))
        steps += [Retire(container) for container in retire]
        if missing > 0:
            short.append((view, missing))
    while short:
        again: list[tuple[FunctionView, int]] = []
        for view, missing in short:
            if view.held_s > 0:
                steps.append(Hold(view.function.id, "crash_backoff"))
                continue
            able = choices(view.function, nodes)
            placed = next(((node, asks) for asks in able if (node := place(asks, free)) is not None), None)
            if placed is None:
                steps.append(_hold(view.function, able, nodes, free))
                continue
            node, asks = placed
            free[node] = free[node].minus(asks)
            steps.append(StartOne(view.function.id, node, next(iter(asks.gpu_types), None)))
            if missing > 1:
                again.append((view, missing - 1))
        short = again
    return tuple(steps)


def _hold(
    function: Function, able: tuple[Resources, ...], nodes: tuple[Node, ...], free: dict[NodeId, Resources]
) -> Hold:
    if not nodes:
        return Hold(function.id, "no_node")
    never = not any(asks.fits_in(node.capacity) for asks in able for node in nodes)
    left = reduce(Resources.plus, free.values(), Resources())
    return Hold(function.id, "no_capacity", never, why_none(function, nodes, left))


def _difference(view: FunctionView, *, cores: int) -> tuple[int, list[ContainerId]]:
    """How many containers are missing, and which go: those idle longest, once their window is over."""
    scaling = view.function.scaling
    alive = [container for container in view.containers if not container.retiring]
    wanted = desired_containers(view.demand, scaling, cores=cores)
    missing = wanted - len(alive)
    if missing >= 0:
        return missing, []
    expired = sorted(
        (c for c in alive if c.idle_s is not None and c.idle_s >= scaling.scaledown_window_s),
        key=lambda c: (-(c.idle_s or 0.0), c.id),
    )
    return 0, [container.id for container in expired[: len(alive) - wanted]]
