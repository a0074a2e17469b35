"""Children: their ends heard beside a line, in the small processes that fork others and wait."""

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# What a process of ours ends with when its own code fails, which is not the user's doing.
BROKEN = 70
REST_S = 0.01


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that has ended: its pid, its wait status, and the seconds of CPU time that it and its own took."""

    pid: int
    status: int
    cpu_s: float


def wake_for_children() -> int:
    """A descriptor that becomes readable whenever a child has ended."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, _wake_only)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def ended() -> Iterator[Ended]:
    """Every child that has ended by now."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield Ended(pid, status, usage.ru_utime + usage.ru_stime)


def serve(
    woken: int,
    line: socket.socket,
    *,
    obey: Callable[[], bool],
    take: Callable[[Ended], None],
    rest: Callable[[], None] | None = None,
) -> None:
    """Wait for words on `line`, for `obey` to read, and for the ends of children, until `obey` says False.

    rest: called once whenever nothing has come for REST_S.
    """
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(line, select.POLLIN)
    patience_ms = None
    while True:
        found = poll.poll(patience_ms)
        patience_ms = None if not found or rest is None else REST_S * 1e3
        if not found and rest is not None:
            rest()
        for fd, _ in found:
            if fd == woken:
                os.read(woken, 4096)
                for one in ended():
                    take(one)
            elif not obey():
                return


def _wake_only(_number: int, _frame: object) -> None:
    """SIGCHLD needs a handler, so that it wakes the poll."""
