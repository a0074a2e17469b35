"""Why a container ended: one cause, told apart from everything that was seen of its end."""

import os
import signal
from dataclasses import dataclass
from typing import Literal

Cause = Literal["exit", "signal", "oom", "pids", "disk", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What was seen of an end.

    status: the runner's wait status, None where the whole container was killed at once. asked: it was stopped or killed
    on request. over_memory, over_disk: the launcher killed it at that limit. oom_kills: processes that the kernel killed
    for memory. refused_forks: times that the limit of processes refused one.
    """

    status: int | None
    asked: bool = False
    over_memory: bool = False
    over_disk: bool = False
    oom_kills: int = 0
    refused_forks: int = 0

    @property
    def code(self) -> int | None:
        """The exit code, None after a signal."""
        return None if self.status is None or os.WIFSIGNALED(self.status) else os.WEXITSTATUS(self.status)

    @property
    def signal(self) -> int | None:
        """The signal that ended it, None after an exit."""
        if self.status is None:
            return int(signal.SIGKILL)
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None


def cause_of(ending: Ending) -> Cause:
    """The one cause of an end. A limit outranks the kill that it led to, and our own kill outranks the signal it sent."""
    killed = ending.signal == signal.SIGKILL
    if ending.over_memory or (ending.oom_kills and (killed or ending.code == 128 + signal.SIGKILL)):
        return "oom"
    if ending.over_disk:
        return "disk"
    if ending.asked:
        return "killed"
    if ending.refused_forks and ending.code != 0:
        return "pids"
    return "exit" if ending.signal is None else "signal"
