"""Limits: what the kernel refused a container, told as the limit that it ran into."""

from __future__ import annotations

import errno
import os
import resource
import socket

from squall.model.errors import DiskFull, Error, TooManyFiles, TooManyProcesses
from squall.model.function import Function

_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN})
# Our own first process and threads, and those that ended between the failure and the count.
_SPARE = 16
_BLOCKED = (
    "this function has `block_network=True`, so there is only loopback: fetch what is needed before, or pass it as an "
    "argument"
)
_NO_NETWORK = (
    "this machine gives containers no network beside loopback, and `squall doctor` says why: fetch what is needed "
    "before, pass it as an argument, or install it in the image with `.pip_install(...)`"
)
_DENIED = (
    "containers reach the outside, but neither the machine that they run on, nor each other, nor metadata services: if "
    "this address is one of those, pass what it has as an argument"
)


def named(error: BaseException, function: Function) -> BaseException:
    """The error that names the limit behind `error`, which becomes its cause; `error` itself, with a hint where one fits."""
    told = _named(error, function)
    if told is not None:
        told.__cause__ = error
        told.__traceback__ = error.__traceback__
        return told
    if hint := _network_hint(error, function):
        error.add_note(hint)
    return error


def _named(error: BaseException, function: Function) -> Error | None:
    number = error.errno if isinstance(error, OSError) else None
    name, limit = function.name, function.limits.pids
    if number == errno.EAGAIN or str(error) == "can't start new thread":
        there = _processes()
        # Reading what is not there yet fails with the same number.
        if there >= limit - _SPARE:
            return TooManyProcesses(
                f"{name} has as many processes and threads as its container may have: the limit is {limit}, "
                f"the peak was {there}",
                limit=limit,
                peak=there,
            )
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{name} has filled the disk that its container may use: {error}", path=_path(error))
    if number in (errno.EMFILE, errno.ENFILE):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return TooManyFiles(f"{name} has as many open files as a process may have: {files}", limit=files)
    return None


def _processes() -> int:
    """How many processes and threads this container has, as far as its /proc shows."""
    count = 0
    try:
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                count += len(os.listdir(f"/proc/{entry.name}/task"))
    except OSError:
        return count
    return count


def _path(error: BaseException) -> str | None:
    name = getattr(error, "filename", None)
    return name if isinstance(name, str) else None


def _network_hint(error: BaseException, function: Function) -> str:
    """What to know about a failure of the network, empty where it is something else."""
    unnamed = isinstance(error, socket.gaierror)
    if not unnamed and not (isinstance(error, OSError) and error.errno in _UNREACHABLE):
        return ""
    if any(name != "lo" for _, name in socket.if_nameindex()):
        return "" if unnamed else _DENIED
    return _BLOCKED if function.block_network else _NO_NETWORK
