"""View: what the planner is shown, and the steps that it answers with."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.function import Function
from squall.model.ids import ContainerId, FunctionId, NodeId
from squall.model.resources import Resources
from squall.scheduling.place import Wish
from squall.scheduling.scale import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerView:
    """One container as the planner sees it.

    idle_s: seconds it has been idle, None while it is not. starting: it has not been ready yet. retiring: it gets
    nothing more, and goes when it has nothing in hand. silent: its node does not answer. takes: of its node, None for
    what its function asks for.
    """

    id: ContainerId
    node: NodeId
    idle_s: float | None = None
    retiring: bool = False
    starting: bool = False
    silent: bool = False
    takes: Resources | None = None

    @property
    def counts(self) -> bool:
        """Whether it is one of those that the function has."""
        return not self.retiring and not self.silent


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionView:
    """One function, its demand and its containers.

    held_s: seconds until it may start containers again, and held_why: what for. wishes: what a container of it may take, the first choice
    first; none: what the function asks for. template_on, image_on: the nodes that have a template of it ready, and
    those that hold its image. weight: its share beside others, 2.0 for twice as much.
    """

    function: Function
    demand: Demand
    containers: tuple[ContainerView, ...] = ()
    held_s: float = 0.0
    held_why: str = "crash_backoff"
    wishes: tuple[Wish, ...] = ()
    template_on: frozenset[NodeId] = frozenset()
    image_on: frozenset[NodeId] = frozenset()
    weight: float = 1.0

    @property
    def alive(self) -> tuple[ContainerView, ...]:
        """The containers that it has."""
        return tuple(container for container in self.containers if container.counts)

    @property
    def choices(self) -> tuple[Wish, ...]:
        """What a container may take, the first choice first; at least one."""
        return self.wishes or (Wish(asks=self.function.asks),)


@dataclass(frozen=True, slots=True)
class StartOne:
    """Start a container of this function on this node; wish: which of its choices it takes, counted from 0."""

    function: FunctionId
    node: NodeId
    wish: int = 0


@dataclass(frozen=True, slots=True)
class Retire:
    """Let this container go. why: "idle" (its window is over) or "room" (another function needs what it takes)."""

    container: ContainerId
    why: str = "idle"


@dataclass(frozen=True, slots=True)
class Hold:
    """The function would have more containers: why not, and whether any node could ever hold one; words say more."""

    function: FunctionId
    reason: str
    never: bool = False
    words: str = ""


Step = StartOne | Retire | Hold
