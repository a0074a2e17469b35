"""Node: a machine that runs containers."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.ids import NodeId
from squall.model.resources import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine as its agent describes it.

    level is the strongest isolation that its host allows; boot tells one start of the machine from another.
    """

    id: NodeId
    capacity: Resources
    level: str = "sandbox"
    boot: str = ""
    cores: int = 1
