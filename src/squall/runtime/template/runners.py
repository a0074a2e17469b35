"""Runners: which container each of a template's forks is in, by the number that the template's init has for it."""

import os
import signal

from squall.runtime.template.joined import JoinedContainer

_EARLY_ENDS = 256


class Runners:
    """The forks of one template that have not ended, and ends of such that are not known yet."""

    def __init__(self) -> None:
        self._containers: dict[int, JoinedContainer] = {}
        self._early: dict[int, tuple[int, float]] = {}

    def forked(self, inner_pid: int, container: JoinedContainer) -> None:
        """The template says that this one is in that container."""
        self._containers[inner_pid] = container

    def entered(self, container: JoinedContainer, pid: int, said_inner_pid: int) -> None:
        """A runner has said its first word. The template may not have told of it: a strict one cannot, one that ended did not.

        A runner that has ended by now is nowhere to be looked at: then it counts what it says itself.
        """
        number = inner_pid(pid) or said_inner_pid
        if (end := self._early.pop(number, None)) is not None:
            container.runner_ended(*end)
        elif number:
            self._containers[number] = container

    def ended(self, inner_pid: int, status: int, cpu_s: float) -> bool:
        """This one has ended; whether it was known."""
        container = self._containers.pop(inner_pid, None)
        if container is not None:
            container.runner_ended(status, cpu_s)
        return container is not None

    def ended_early(self, inner_pid: int, status: int, cpu_s: float) -> None:
        """Somebody has ended that may be a runner whose first word has not been read yet."""
        self._early[inner_pid] = (status, cpu_s)
        while len(self._early) > _EARLY_ENDS:
            del self._early[next(iter(self._early))]

    def take_early(self, inner_pid: int) -> tuple[int, float] | None:
        """The end of somebody who was not known when it came."""
        return self._early.pop(inner_pid, None)


def inner_pid(pid: int) -> int:
    """The pid that this process has for the template's init, one namespace further in; 0 where it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            numbers = next(line for line in file if line.startswith("NSpid:")).split()[1:]
        return int(numbers[-2])
    except (OSError, StopIteration, IndexError, ValueError):
        return 0


def how_ended(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        return f"it was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"it exited with code {os.WEXITSTATUS(status)}"
