"""Node diff: what turns the containers a node has into those it shall have."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.container import WantedContainer
from squall.model.ids import ContainerId


@dataclass(frozen=True, slots=True)
class Start:
    """Start this container."""

    wanted: WantedContainer


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop this container: signal, grace, kill."""

    container: ContainerId


def plan_node(
    wanted: tuple[WantedContainer, ...], present: frozenset[ContainerId], ended: frozenset[ContainerId]
) -> tuple[Start | Stop, ...]:
    """What turns `present` into `wanted`: stops first, so that starts find room.

    ended: containers that have ended here and are not yet forgotten by the server; they are never started again,
    an id is one life.
    """
    ids = {container.id for container in wanted}
    stops = tuple(Stop(container) for container in sorted(present - ids))
    starts = tuple(Start(container) for container in wanted if container.id not in present | ended)
    return (*stops, *starts)
