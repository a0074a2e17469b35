"""A carrier: the program that joins one container's network to a user's own, and ends with that container."""

import os
import select
import signal
from contextlib import suppress
from typing import Final

from squall.runtime import syscalls
from squall.runtime.spec import Carrier

# Where a carrier answers for the name servers of its host, whatever those are.
RESOLVER: Final = "10.0.2.3"
_INNER: Final = "eth0"
_NOTHING: Final = "none"
_PYTHON_IGNORES: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def lead(carrier: Carrier, pid: int, ready: int) -> int:
    """Be a carrier's parent until the process `pid`, whose network it joins, has ended; 0 if it could be started.

    Tells `ready`, a pipe, an empty line once the network is there, else why it is not. For a forked child: everything
    but that pipe is closed. Dies with its own parent, and the carrier with it.
    """
    syscalls.close_others((0, 1, 2, ready))
    signal.signal(signal.SIGTERM, _end)
    syscalls.die_with_parent(signal.SIGTERM)
    # pasta goes into the background once it is ready, and is our child again by this.
    syscalls.become_subreaper()
    try:
        target = os.pidfd_open(pid)
        children = _pasta(pid) if carrier == "pasta" else _slirp(pid)
        os.write(ready, b"\n")
        os.close(ready)
        poll = select.poll()
        for fd in (target, *map(os.pidfd_open, children)):
            poll.register(fd, select.POLLIN)
        poll.poll()
    except OSError as problem:
        with suppress(OSError):
            os.write(ready, f"{carrier}: {problem.strerror or problem}\n".encode())
        return 1
    finally:
        # Whatever is there, also where the end came in the midst of its start.
        for child in _children():
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
    return 0


def _pasta(pid: int) -> list[int]:
    closed = [word for option in ("-t", "-u", "-T", "-U") for word in (option, _NOTHING)]
    argv = ["pasta", "--config-net", "-4", "-q", "--no-map-gw", *closed, "-I", _INNER]
    first = _start([*argv, "--dns-forward", RESOLVER, str(pid)])
    code = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    left = _children()
    if code != 0 or not left:
        raise ChildProcessError(f"it ended with {code}")
    return left


def _slirp(pid: int) -> list[int]:
    reads, writes = os.pipe()
    os.set_inheritable(writes, True)
    argv = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox"]
    child = _start([*argv, f"--ready-fd={writes}", str(pid), _INNER])
    os.close(writes)
    said = os.read(reads, 1)
    os.close(reads)
    if not said:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        raise ChildProcessError(f"it ended with {code}")
    return [child]


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _start(argv: list[str]) -> int:
    # Python ignores some signals, which a program inherits, and pasta takes for an error.
    return os.posix_spawnp(argv[0], argv, {"PATH": os.defpath}, setsigdef=_PYTHON_IGNORES, setsigmask=())


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)
