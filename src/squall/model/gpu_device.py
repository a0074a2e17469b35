"""GPU devices: what one is, what uses its memory, and which files of the driver a container needs for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from squall.model.gpu import Gpus, added, type_of

# Nothing but these is ever made in a container: the devices themselves, and what the driver's library opens beside them.
_NODE: Final = re.compile(r"/dev/nvidia(\d{1,3}|ctl|-uvm|-uvm-tools)")
CONTROL_NODES: Final = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """One device as the driver describes it.

    id: its UUID, which stays the same over restarts. minor: the number of its node, /dev/nvidia<minor>. parted: the
    owner of the machine has cut it into parts (MIG), which are left alone.
    """

    id: str
    name: str
    memory_bytes: int
    minor: int
    parted: bool = False

    @property
    def type(self) -> str:
        """The type that people say, as `gpu=` takes it."""
        return type_of(self.name, self.memory_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What a device's memory is used for: bytes in use (not those that the driver keeps for itself), processes that compute."""

    used_bytes: int = 0
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A device file: its path on the host and in a container, and the kernel's numbers for it.

    Raises ValueError for any path but those that GPUs need.
    """

    path: str
    major: int
    minor: int

    def __post_init__(self) -> None:
        if not _NODE.fullmatch(self.path):
            raise ValueError(f"no container is given the device {self.path!r}")
        if not 0 < self.major < 2**12 or not 0 <= self.minor < 2**20:
            raise ValueError(f"{self.path} cannot have the numbers {self.major}:{self.minor}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFile:
    """A file of the driver. name: what programs ask for, `libcuda.so.1`; path: where it lies on the host, no link."""

    name: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The driver's files that were found here. found_by: "cdi", "ldconfig", or the folder; empty where none was found.

    loader_finds: the host's own loader finds the libraries by name, in a process of whatever age; kept in evidence.
    """

    version: str = ""
    nodes: tuple[DeviceNode, ...] = ()
    libraries: tuple[DriverFile, ...] = ()
    programs: tuple[DriverFile, ...] = ()
    found_by: str = ""
    loader_finds: bool = False


def counted(devices: tuple[GpuDevice, ...]) -> tuple[Gpus, ...]:
    """How many devices there are of each type; parted ones are none."""
    return added((), tuple(Gpus(type=device.type) for device in devices if not device.parted))
