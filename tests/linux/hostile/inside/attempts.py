"""Attempts: tries one thing, and says in a word what it met: an error's name, "done", or the signal that ended it."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable
from typing import Any

Facts = dict[str, Any]
Met = dict[str, str]

CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = [ctypes.c_long] * 7
_kept: list[object] = []


def call(facts: Facts, name: str, *arguments: int) -> str:
    """What a system call meets, by its name."""
    return raw(facts, name, *arguments)[0]


def raw(facts: Facts, name: str, *arguments: int) -> tuple[str, int]:
    """The same, and what it gave."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    got: int = _libc.syscall(facts["numbers"][name], *padded)
    return ("done" if got >= 0 else _name(ctypes.get_errno())), got


NO_EFFECT = "no effect"


def attempt(do: Callable[[], object], shows: Callable[[], bool] = lambda: True) -> str:
    """What `do` meets; that it has no effect, where it is said to be done and `shows` finds nothing of it."""
    try:
        do()
    except ValueError:
        return "EPERM"  # what setrlimit makes of it
    except OSError as problem:
        return _name(problem.errno or 0)
    return "done" if shows() else NO_EFFECT


def seen(do: Callable[[], str]) -> str:
    """What `do` found, or what it met."""
    try:
        return do()
    except OSError as problem:
        return _name(problem.errno or 0)


def in_child(do: Callable[[], str]) -> str:
    """What `do` says in a child, or the signal that ended it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = do()
        except BaseException as problem:  # noqa: BLE001 - nothing may unwind into what the parent does
            said = f"broken: {type(problem).__name__}: {problem}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    said = os.read(read, 4096).decode()
    os.close(read)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return signal.Signals(-code).name if code < 0 else said


def buffer(data: bytes) -> int:
    """The address of `data`, which stays there."""
    held = ctypes.create_string_buffer(data, len(data) + 1)
    _kept.append(held)
    return ctypes.addressof(held)


def open_to_write(path: str) -> str:
    """Whether a file can be opened for writing; nothing is written. "null" where it is the null device instead."""
    return opened(path, os.O_WRONLY)


def opened(path: str, flags: int) -> str:
    """The same for any way of opening."""

    def look() -> str:
        fd = os.open(path, flags | os.O_NONBLOCK)
        found = os.fstat(fd)
        os.close(fd)
        return "null" if found.st_rdev == os.makedev(1, 3) else "done"

    return seen(look)


def read_some(path: str) -> str:
    """Whether there is anything to read in a file: "done", or "empty"."""

    def look() -> str:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return "done" if os.read(fd, 64) else "empty"
        except BlockingIOError:
            return "done"
        finally:
            os.close(fd)

    return seen(look)


def listed(path: str) -> str:
    """Whether there is anything in a directory: "done", or "empty"."""
    return seen(lambda: "done" if os.listdir(path) else "empty")


def status() -> dict[str, str]:
    """The fields of this process's status."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number))
