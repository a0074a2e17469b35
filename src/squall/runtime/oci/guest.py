"""Pid 1 of a container in gVisor: like that of any OCI container, with one socket for everything that it is told and tells."""

import fcntl
import json
import os
import select
import socket
import sys
import time

from squall.runtime import children, syscalls
from squall.runtime.oci.bridge import Bridge, Word
from squall.runtime.oci.inside import CONTROL_FD, LOG_FD, code_of, pass_signals_on, run_entry

# The line is the container's standard input: the one descriptor beside its two outputs that every runsc passes on.
_LINE_FD = 0
_FLUSH_S = 3.0
_FIRST_FREE_FD = 10


def main(entry: str) -> None:
    """Live until the runner ends, and end like it. In the runner itself this returns when `entry` does."""
    line = socket.socket(fileno=os.dup(_LINE_FD))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, _LINE_FD)
    os.close(null)
    control, inner_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log, inner_log = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    syscalls.set_dumpable(dumpable=False)
    runner = os.fork()
    if runner == 0:
        ends = (inner_control.detach(), inner_log.detach())
        for end in (line, control, log):
            end.close()
        run_entry(entry, *_place(*ends))
        return
    inner_control.close()
    inner_log.close()
    pass_signals_on(runner)
    _Guest(runner, control, (line, log)).live()


def _place(control: int, log: int) -> tuple[int, int]:
    """The two descriptors at the numbers that every runner has them at."""
    away = [fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_FREE_FD) for fd in (control, log)]
    for fd, number in zip(away, (CONTROL_FD, LOG_FD), strict=True):
        os.dup2(fd, number)
    os.closerange(LOG_FD + 1, _FIRST_FREE_FD + 2)
    return CONTROL_FD, LOG_FD


class _Guest:
    def __init__(
        self, runner: int, control: socket.socket, ends: tuple[socket.socket, socket.socket]
    ) -> None:
        self._runner = runner
        self._control = control
        self._bridge = Bridge(*ends, make_channel=self._make_channel)
        self._status: int | None = None

    def live(self) -> None:
        """Carry what is said between the runner and the other end, until the runner has ended and all is said."""
        woken = children.wake_for_children()
        self._bridge.say(Word.RUNNING)
        alive = True
        while alive and self._status is None:
            poll = select.poll()
            poll.register(woken, select.POLLIN)
            for fd, events in self._bridge.wants().items():
                poll.register(fd, events)
            for fd, _ in poll.poll():
                if fd == woken:
                    os.read(woken, 4096)
            self._reap()
            alive = self._bridge.turn()
        self._finish()

    def _make_channel(self) -> socket.socket:
        """Our end of a new channel, whose other end the runner gets as from any launcher."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b'{"t":"channel"}'], [theirs.fileno()])
            except OSError:
                pass  # The runner ends: whoever is at the other side sees the channel's end.
        return ours

    def _reap(self) -> None:
        for one in children.ended():
            if one.pid == self._runner:
                self._status = one.status

    def _finish(self) -> None:
        """Pass on what the runner has left, as long as somebody reads it."""
        until = time.monotonic() + _FLUSH_S
        quiet = False
        while not quiet and time.monotonic() < until:
            quiet = not self._bridge.turn() or self._bridge.idle
            if not self._bridge.idle:
                select.select([], [self._bridge.line], [], 0.1)
        status = 0 if self._status is None else self._status
        self._bridge.say(Word.ENDED, json.dumps({"status": status}).encode())
        self._bridge.turn()
        os._exit(code_of(status))


if __name__ == "__main__":
    main(sys.argv[1])
