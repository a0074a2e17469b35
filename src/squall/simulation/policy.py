"""Policy: who decides how many containers there are; Squall's own planner, as the server calls it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from squall.model.ids import FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.plan import plan_capacity
from squall.scheduling.view import FunctionView, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a policy is shown: every function, the nodes that answer, what is taken on each, and the instant."""

    functions: tuple[FunctionView, ...]
    nodes: tuple[Node, ...]
    used: dict[NodeId, Resources]
    now_s: float


Planner = Callable[[Seen], tuple[Step, ...]]


class Policy(Protocol):
    """Decides on starts and retirements; it is asked whenever something has happened that may matter."""

    name: str

    def plan(self, seen: Seen) -> tuple[Step, ...]:
        """The steps at this instant."""
        ...

    def due_s(self, now_s: float) -> float:
        """The instant at which it wants to be asked again at the latest, whatever happens."""
        ...

    def note(self, function: FunctionId, in_hand: int, now_s: float) -> None:
        """So many inputs of a function wait or are worked on from now on."""
        ...


class Squall:
    """Squall's own: `scheduling.plan.plan_capacity`, unchanged. planner: another in its place, for tests."""

    name = "squall"

    def __init__(self, planner: Planner | None = None) -> None:
        self.plan = planner or plan_as_the_server_does

    def due_s(self, now_s: float) -> float:  # noqa: ARG002 - it is woken by events alone
        """See Policy."""
        return math.inf

    def note(self, function: FunctionId, in_hand: int, now_s: float) -> None:
        """See Policy: the planner looks at the line itself."""


def plan_as_the_server_does(seen: Seen) -> tuple[Step, ...]:
    """The steps of the real planner."""
    return plan_capacity(seen.functions, seen.nodes, seen.used)
