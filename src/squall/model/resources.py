"""Resources: an amount of machine, asked for or free."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_CPU_MILLI = 125
DEFAULT_MEMORY_MIB = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """An amount of machine, asked for or free.

    cpu_milli is in thousandths of a core, memory_mib in MiB, gpus in whole devices.
    """

    cpu_milli: int = 0
    memory_mib: int = 0
    gpus: int = 0

    def __post_init__(self) -> None:
        if min(self.cpu_milli, self.memory_mib, self.gpus) < 0:
            raise ValueError(f"an amount is never below zero: {self}")

    def fits_in(self, free: Resources) -> bool:
        """Whether `free` holds at least this much of everything."""
        return (
            self.cpu_milli <= free.cpu_milli and self.memory_mib <= free.memory_mib and self.gpus <= free.gpus
        )

    def plus(self, other: Resources) -> Resources:
        """Both amounts together."""
        return Resources(
            cpu_milli=self.cpu_milli + other.cpu_milli,
            memory_mib=self.memory_mib + other.memory_mib,
            gpus=self.gpus + other.gpus,
        )

    def minus(self, other: Resources) -> Resources:
        """What is left, never below zero: a node may be overcommitted by what was there before."""
        return Resources(
            cpu_milli=max(0, self.cpu_milli - other.cpu_milli),
            memory_mib=max(0, self.memory_mib - other.memory_mib),
            gpus=max(0, self.gpus - other.gpus),
        )

    def __str__(self) -> str:
        parts = [f"{self.cpu_milli / 1000:g} cores", f"{self.memory_mib} MiB"]
        return ", ".join([*parts, f"{self.gpus} GPUs"] if self.gpus else parts)


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
