"""Said: what a simulated machine tells the server about its containers."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.container import ContainerEnd
from squall.model.ids import ContainerId
from squall.scheduling.inputs import Segment


@dataclass(frozen=True, slots=True)
class Begun:
    """A container has been begun: it is there, and takes no inputs yet."""

    container: ContainerId


@dataclass(frozen=True, slots=True)
class Ready:
    """A container takes inputs from now on."""

    container: ContainerId


@dataclass(frozen=True, slots=True)
class Done:
    """A container has worked on these inputs for so many seconds, from began_s on; raised: the function raised."""

    container: ContainerId
    part: Segment
    began_s: float
    seconds: float
    raised: bool = False


@dataclass(frozen=True, slots=True)
class Back:
    """A container gives back inputs that it has not begun."""

    container: ContainerId
    parts: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A container is gone."""

    container: ContainerId
    end: ContainerEnd


Said = Begun | Ready | Done | Back | Ended
