"""Node: a machine that runs containers."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.gpu import Gpus, added
from squall.model.ids import NodeId
from squall.model.resources import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOut:
    """A device that nobody gets for now. id: the driver's name for it (its UUID); why: in a sentence."""

    id: str
    type: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine as its agent describes it.

    level is the strongest isolation that its host allows; boot tells one start of the machine from another.
    gpus: the devices that it has, by type, which are in its capacity too; gpus_out: those of them that nobody gets now.
    """

    id: NodeId
    capacity: Resources
    level: str = "sandbox"
    boot: str = ""
    cores: int = 1
    gpus: tuple[Gpus, ...] = ()
    gpus_out: tuple[GpuOut, ...] = ()

    @property
    def out(self) -> Resources:
        """What of its capacity nobody gets now."""
        return Resources().with_gpus(*added((), tuple(Gpus(type=device.type) for device in self.gpus_out)))
