"""Resources: an amount of machine, asked for or free."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.gpu import Gpus, added, taken

DEFAULT_CPU_MILLI = 125
DEFAULT_MEMORY_MIB = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """An amount of machine, asked for or free.

    cpu_milli is in thousandths of a core, memory_mib in MiB, gpus in whole devices of whatever type; gpu_types says of
    which types they are, as far as that matters.
    """

    cpu_milli: int = 0
    memory_mib: int = 0
    gpus: int = 0
    gpu_types: tuple[Gpus, ...] = ()

    def __post_init__(self) -> None:
        if min(self.cpu_milli, self.memory_mib, self.gpus) < 0:
            raise ValueError(f"an amount is never below zero: {self}")

    def fits_in(self, free: Resources) -> bool:
        """Whether `free` holds at least this much of everything."""
        return (
            self.cpu_milli <= free.cpu_milli
            and self.memory_mib <= free.memory_mib
            and self.gpus <= free.gpus
            and all(part.count <= free.gpus_of(part.type) for part in self.gpu_types)
        )

    def gpus_of(self, kind: str) -> int:
        """How many devices of this very type."""
        return sum(part.count for part in self.gpu_types if part.type == kind)

    def with_gpus(self, *parts: Gpus) -> Resources:
        """The same, and these devices."""
        return self.plus(Resources(gpus=sum(part.count for part in parts), gpu_types=added((), parts)))

    def plus(self, other: Resources) -> Resources:
        """Both amounts together."""
        return Resources(
            cpu_milli=self.cpu_milli + other.cpu_milli,
            memory_mib=self.memory_mib + other.memory_mib,
            gpus=self.gpus + other.gpus,
            gpu_types=added(self.gpu_types, other.gpu_types),
        )

    def minus(self, other: Resources) -> Resources:
        """What is left, never below zero: a node may be overcommitted by what was there before."""
        return Resources(
            cpu_milli=max(0, self.cpu_milli - other.cpu_milli),
            memory_mib=max(0, self.memory_mib - other.memory_mib),
            gpus=max(0, self.gpus - other.gpus),
            gpu_types=taken(self.gpu_types, other.gpu_types),
        )

    def __str__(self) -> str:
        parts = [f"{self.cpu_milli / 1000:g} cores", f"{self.memory_mib} MiB"]
        if self.gpu_types:
            parts += [f"{part.count} {part.type}" for part in self.gpu_types]
        elif self.gpus:
            parts.append(f"{self.gpus} GPUs")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a container may use at most; None means no limit of ours.

    cpu_milli in thousandths of a core, memory_mib in MiB, pids counts processes and threads, disk_mib in MiB of
    scratch.
    """

    cpu_milli: int | None = None
    memory_mib: int | None = None
    pids: int = 4096
    disk_mib: int | None = None

    def __post_init__(self) -> None:
        for name in ("cpu_milli", "memory_mib", "pids", "disk_mib"):
            amount = getattr(self, name)
            if amount is not None and amount <= 0:
                raise ValueError(f"a limit is above zero: {name}={amount}")
