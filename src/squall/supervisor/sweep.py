"""Sweep: end the launchers that no agent answers for any more, with their containers and what let those out."""

import os
import select
import signal
import socket
import struct
import time
from pathlib import Path

from squall.runtime.instance import instance_of
from squall.runtime.network import firewall
from squall.settings.paths import StatePaths
from squall.settings.process import ProcessMark, mark_of, open_process
from squall.settings.start import command

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_START_S = 5.0


def sweep(launchers: Path, *, grace_s: float) -> tuple[int, ...]:
    """The pids of the launchers whose sockets were in the directory `launchers`, once they have ended.

    Each is asked to quit; after grace_s it is killed. Their sockets are removed, stale ones too.
    """
    ending: dict[int, ProcessMark] = {}
    for path in sorted(launchers.glob("*.sock")):
        mark = _ask_to_quit(path)
        pidfd = None if mark is None else open_process(mark)
        if mark is not None and pidfd is not None:
            ending[pidfd] = mark
    for pidfd in _still_there(list(ending), time.monotonic() + grace_s):
        _kill(pidfd)
    # One that its agent has started just before it was killed listens nowhere yet; it holds nothing.
    for mark in _beginning(launchers):
        pidfd = open_process(mark)
        if pidfd is not None:
            _kill(pidfd)
            ending[pidfd] = mark
    _still_there(list(ending), time.monotonic() + 1.0)
    for pidfd in ending:
        os.close(pidfd)
    for path in launchers.glob("*.sock"):
        path.unlink(missing_ok=True)
    return tuple(mark.pid for mark in ending.values())


def sweep_network(paths: StatePaths) -> str:
    """Take back what an agent has changed on the host's network, and did not live to; what went wrong, else empty."""
    if not paths.network_record.exists():
        return ""
    try:
        firewall.take_down(instance_of(str(paths.state)), str(paths.network_record))
    except OSError as problem:
        return str(problem)
    return ""


def sweep_scratch(paths: StatePaths, *, within_s: float) -> str:
    """Remove what containers have left that ended with their launcher; what went wrong, else empty."""
    if not os.listdir(paths.scratch):
        return ""
    argv = command("squall.runtime.tidy", str(paths.state), f"{within_s:g}")
    try:
        pid = os.posix_spawn(argv[0], list(argv), os.environ, setsigmask=())
    except OSError as problem:
        return str(problem)
    pidfd = os.pidfd_open(pid)
    late = _still_there([pidfd], time.monotonic() + within_s + _START_S)
    if late:
        _kill(pidfd)
    os.waitpid(pid, 0)
    os.close(pidfd)
    return "it took too long" if late else ""


def _beginning(launchers: Path) -> list[ProcessMark]:
    """The processes that were told to listen in this directory."""
    told = os.fsencode(f"{launchers}/")
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                ours = any(argument.startswith(told) for argument in file.read().split(b"\0"))
        except OSError:
            continue
        mark = mark_of(int(name)) if ours else None
        if mark is not None:
            found.append(mark)
    return found


def _ask_to_quit(path: Path) -> ProcessMark | None:
    """The launcher that listens on `path`, once it was asked to quit; None where nobody listens."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
            asked.settimeout(0.5)
            # By way of the directory's descriptor: an address holds at most 107 bytes.
            asked.connect(f"/proc/self/fd/{directory}/{path.name}")
            credentials = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, _ = _CREDENTIALS.unpack(credentials)
            if uid != os.geteuid():
                return None
            mark = mark_of(pid)
            asked.send(b'{"t":"quit"}')
            return mark
    except OSError:
        return None
    finally:
        os.close(directory)


def _still_there(pidfds: list[int], until_s: float) -> list[int]:
    """Those of `pidfds` whose processes have not ended by until_s (monotonic)."""
    poll = select.poll()
    left = set(pidfds)
    for pidfd in left:
        poll.register(pidfd, select.POLLIN)
    while left and (rest_s := until_s - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(rest_s * 1000):
            poll.unregister(pidfd)
            left.discard(pidfd)
    return sorted(left)


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return
