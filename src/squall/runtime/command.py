"""A command run inside a container beside its runner: by `exec`, or as a shell with a terminal of its own."""

import errno
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from squall.runtime import packet, syscalls

# Opens the terminal's other side without walking a path that the image could have changed.
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_CANNOT_RUN = 126
_NOT_FOUND = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run: a program with its arguments, environment and directory; tty gives it a terminal, else pipes."""

    id: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    tty: bool
    rows: int
    cols: int

    @classmethod
    def from_json(cls, message: Mapping[str, Any]) -> "Command":
        """The command that an `exec` message asks for. Raises ValueError for one that cannot be."""
        try:
            argv = tuple(str(part) for part in message["argv"])
            env = {str(name): str(value) for name, value in (message.get("env") or {}).items()}
            asked = cls(
                id=str(message["exec"]),
                argv=argv,
                env=env,
                cwd=str(message.get("cwd") or "/"),
                tty=bool(message.get("tty", False)),
                rows=int(message.get("rows") or 24),
                cols=int(message.get("cols") or 80),
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"this is no command to execute: {problem}") from problem
        if not argv or not argv[0] or any("\0" in part for part in (*argv, *env, *env.values(), asked.cwd)):
            raise ValueError("a command to execute needs a program, and no text in it may hold a zero byte")
        return asked

    def to_json(self) -> dict[str, Any]:
        """The `exec` message that asks for this command."""
        return {
            "t": "exec",
            "exec": self.id,
            "argv": list(self.argv),
            "env": dict(self.env),
            "cwd": self.cwd,
            "tty": self.tty,
            "rows": self.rows,
            "cols": self.cols,
        }


def start(asked: Command, line: socket.socket, *, leader: bool) -> int:
    """Fork `asked` from a container's first process, which has been stripped of everything; its pid there.

    The child itself tells the launcher, with its ends of the terminal or pipes, so that the kernel says its pid.
    leader: whether /dev/pts is the container's own.
    """
    if (pid := os.fork()) != 0:
        return pid
    try:
        _become(asked, line, own_terminals=leader)
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the first process's own stack
        _refuse(asked, line, problem)
    os._exit(_CANNOT_RUN)


def set_size(terminal: int, *, rows: int, cols: int) -> None:
    """Tell a terminal its size."""
    fcntl.ioctl(terminal, _TIOCSWINSZ, struct.pack("4H", rows & 0xFFFF, cols & 0xFFFF, 0, 0))


def _become(asked: Command, line: socket.socket, *, own_terminals: bool) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Python ignores these, and a program inherits what is ignored.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.setsid()
    inner, outer = _terminal(asked, own=own_terminals) if asked.tty else _pipes()
    packet.send(line, {"t": "execed", "exec": asked.id}, outer)
    for number, fd in enumerate(inner):
        os.dup2(fd, number)
    syscalls.close_others((0, 1, 2))
    if asked.tty:
        fcntl.ioctl(0, _TIOCSCTTY, 0)
    try:
        os.chdir(asked.cwd)
        os.execvpe(asked.argv[0], list(asked.argv), dict(asked.env))  # noqa: S606 - no shell is the point
    except OSError as problem:
        os.write(2, f"{asked.argv[0]}: {problem.strerror}\n".encode())
        os._exit(_NOT_FOUND if problem.errno == errno.ENOENT else _CANNOT_RUN)


def _terminal(asked: Command, *, own: bool) -> tuple[tuple[int, int, int], tuple[int]]:
    """The inner side three times, and the outer side. A terminal of the container's own: nothing typed into it by a
    program inside can reach the caller's.
    """
    master = os.open("/dev/pts/ptmx" if own else "/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    inner = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    set_size(master, rows=asked.rows, cols=asked.cols)
    # Above the three numbers that it is copied to.
    inner = fcntl.fcntl(inner, fcntl.F_DUPFD_CLOEXEC, 10)
    return (inner, inner, inner), (master,)


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
    return (in_read, out_write, err_write), (in_write, out_read, err_read)


def _refuse(asked: Command, line: socket.socket, problem: BaseException) -> None:
    try:
        packet.send(line, {"t": "exec_failed", "exec": asked.id, "why": str(problem)})
    except OSError:
        pass  # The launcher is gone: nobody is left to tell.
