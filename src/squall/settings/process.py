"""A process of ours, marked so that another one that got its number later is never taken for it."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMark:
    """One process for all time: its number, when it started (clock ticks since the boot) and which boot."""

    pid: int
    started: int
    boot: str

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "started": self.started, "boot": self.boot}

    @classmethod
    def from_json(cls, value: Any) -> "ProcessMark | None":
        """The mark that `value` says; None where it says none, whatever it is."""
        if not isinstance(value, dict):
            return None
        pid, started, boot = value.get("pid"), value.get("started"), value.get("boot")
        if not (isinstance(pid, int) and isinstance(started, int) and isinstance(boot, str) and pid > 0):
            return None
        return cls(pid=pid, started=started, boot=boot)


def mark_of(pid: int) -> ProcessMark | None:
    """The mark of the process that has the number `pid` now; None where there is none, or it only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in brackets, may hold anything; the fields are counted behind its last bracket.
            after_name = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if after_name[0] in {b"Z", b"X"}:
        return None
    return ProcessMark(pid=pid, started=int(after_name[19]), boot=_boot())


def own_mark() -> ProcessMark:
    mark = mark_of(os.getpid())
    if mark is None:
        raise OSError("/proc does not show this process; Squall needs it mounted")
    return mark


def open_process(mark: ProcessMark) -> int | None:
    """A pidfd of exactly the process `mark`, the caller's to close; None where it has ended.

    The descriptor is opened first and compared after: once it is open, its number cannot pass to another.
    """
    try:
        pidfd = os.pidfd_open(mark.pid)
    except ProcessLookupError:
        return None
    if mark_of(mark.pid) == mark:
        return pidfd
    os.close(pidfd)
    return None


def is_alive(mark: ProcessMark) -> bool:
    return mark_of(mark.pid) == mark


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
