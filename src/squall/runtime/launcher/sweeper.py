"""Sweeper: a process beside a launcher that removes what containers have left.

One that stays, in place of a child each time: after a fork every page that the launcher writes to is copied, and the next
start would pay for that.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
from collections import deque
from functools import partial

from squall.runtime import packet, scratch
from squall.runtime.children import BROKEN
from squall.runtime.host import Host
from squall.runtime.init import leave_the_launcher
from squall.runtime.namespaces import do_as_container_root

_MOST_AT_ONCE = 15  # of paths of 4096 bytes at most, as many as one packet holds


class Sweeper:
    """The sweeper of one launcher, which lives as long; another one takes its place where it ends before."""

    def __init__(self, selector: selectors.BaseSelector, host: Host) -> None:
        self._selector = selector
        self._host = host
        self._line: socket.socket | None = None
        self._pid = 0
        self._queue: deque[str] = deque()
        self._under_way: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether anything has still to be removed."""
        return bool(self._under_way or self._queue)

    def remove(self, paths: list[str]) -> None:
        """Have these removed, after those before them."""
        self._queue += paths
        self._go_on()

    def close(self) -> None:
        """End it, what it is at included."""
        line, self._line = self._line, None
        if line is not None:
            self._selector.unregister(line)
            line.close()
            os.waitpid(self._pid, 0)

    def _go_on(self) -> None:
        if self._under_way or not self._queue:
            return
        try:
            line = self.begin()
            self._under_way = [self._queue.popleft() for _ in range(min(_MOST_AT_ONCE, len(self._queue)))]
            packet.send(line, {"t": "remove", "paths": self._under_way})
        except OSError as problem:
            # One that has ended takes nothing; the next paths are for another one.
            self.close()
            self._leave_lie(f"{problem}")

    def begin(self) -> socket.socket:
        """The line to it; it is begun where it is not there. Raises OSError."""
        if self._line is not None:
            return self._line
        ours, theirs = packet.pair()
        pid = os.fork()
        if pid == 0:
            _live(theirs.detach(), self._host)
        theirs.close()
        ours.setblocking(False)
        self._line, self._pid = ours, pid
        self._selector.register(ours, selectors.EVENT_READ, self._hear)
        return ours

    def _hear(self) -> None:
        assert self._line is not None, "it is listened to for as long as it is there"
        try:
            got = packet.heard(self._line)
        except BlockingIOError:
            return
        if got is None:
            self.close()
            self._leave_lie("the process that removes things has ended")
            return
        for said in got.message.get("kept", ()):
            print(said, file=sys.stderr, flush=True)
        self._under_way = []
        self._go_on()

    def _leave_lie(self, why: str) -> None:
        """What it was at stays, until a launcher that is started later finds that nobody holds it; the rest goes on."""
        for path in self._under_way or self._queue:
            print(f"{path} could not be removed: {why}", file=sys.stderr, flush=True)
        if not self._under_way:
            self._queue.clear()
        self._under_way = []
        self._go_on()


def _live(line: int, host: Host) -> None:
    """Be the sweeper, until its launcher closes the line; never returns."""
    code = BROKEN
    try:
        leave_the_launcher((line,), "squall-sweeper")
        serve = partial(_serve, line)
        code = serve() if host.subordinate is None else do_as_container_root(host, serve)
    finally:
        os._exit(code)


def _serve(fd: int) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=fd) as line, contextlib.suppress(OSError):
        while (got := packet.receive(line)) is not None:
            packet.send(line, {"t": "removed", "kept": [*filter(None, map(_remove, got.message["paths"]))]})
    return 0


def _remove(path: str) -> str:
    """Why it could not be removed, "" where it was."""
    try:
        scratch.remove(path)
    except OSError as problem:
        return f"{path} could not be removed: {problem}"
    return ""
