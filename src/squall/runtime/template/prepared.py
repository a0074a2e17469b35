"""A prepared sandbox: everything of a container but its runner, made ahead of the request for it."""

import os
import signal
import socket
from dataclasses import dataclass

from squall.runtime import scratch
from squall.runtime.cgroups import Group
from squall.runtime.container import Channels, runner_channels
from squall.runtime.spec import Veth


@dataclass(slots=True, kw_only=True)
class Sandbox:
    """One sandbox of a template, from the request for it to its end.

    scratch: its directory on the host, held by the descriptor `hold`. line: to its first process; inner: the other end,
    for whoever else speaks of it. inner_pid: its first process as the template's init counts; pid, pidfd: as the
    launcher does. veth: how it is joined to the host's network, where it has an address. namespaces: descriptors of what
    a runner enters it by, in the order in which it does. channels: for the runner, made ahead too. rests: its first process does nothing any more but reap.
    """

    id: str
    scratch: str
    hold: int
    line: socket.socket
    inner: socket.socket
    group: Group | None
    asked_at: float
    inner_pid: int = 0
    pid: int = 0
    pidfd: int = -1
    namespaces: tuple[int, ...] = ()
    channels: Channels | None = None
    tmpfs: tuple[int, ...] = ()
    cpu_s: float = 0.0
    veth: Veth | None = None
    taken: bool = False
    rests: bool = False

    def kill(self) -> None:
        """End its first process, and with it whatever has entered it."""
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass  # It has ended by itself.

    def take_channels(self) -> Channels:
        """Those for its runner, the caller's from now on."""
        channels, self.channels = self.channels, None
        return runner_channels() if channels is None else channels

    def close_doors(self) -> None:
        """No runner enters it any more."""
        for fd in self.namespaces:
            os.close(fd)
        self.namespaces = ()

    def discard(self) -> None:
        """Let go of all of it, after the end of its first process, where no container has taken it."""
        self.close_doors()
        if self.channels is not None:
            self.channels.close()
            self.channels = None
        self.inner.close()
        self.line.close()
        for fd in (self.pidfd, self.hold, *self.tmpfs):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.hold = -1
        self.tmpfs = ()


def make_directory(path: str, owner: int | None) -> int:
    """Make the directory of a sandbox, whose root owns it; a descriptor that holds it."""
    hold = scratch.make(path)
    if owner is not None:
        os.chown(path, owner, owner)
    return hold
