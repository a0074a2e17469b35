"""Starts a runner in the process that was forked for it: its descriptors, its environment, its program."""

import atexit
import importlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import NoReturn

from squall.runtime import packet, syscalls
from squall.runtime.spec import SandboxSpec

CONTROL_FD = 3
LOG_FD = 4
_FIRST_FREE_FD = 10
_CANNOT_RUN = 126
_NOT_FOUND = 127
# The function itself, without what makes enumerations of numbers: a fork would copy the pages of all that.
_set_handler: Callable[[int, int], object] = getattr(signal.signal, "__wrapped__", signal.signal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The runner's ends of its descriptors: the control and log sockets, the pipes behind fd 1 and 2."""

    control: int
    log: int
    out: int
    err: int

    def all(self) -> tuple[int, ...]:
        return astuple(self)

    def close(self) -> None:
        """Let go of them, in a process that has handed them on."""
        for fd in self.all():
            os.close(fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A fork of a template that has entered its sandbox.

    told: its socket to the launcher, for one word. kept: descriptors of the user's code that stay open. renew: what it
    does to share nothing with its siblings. spare: it waits to be told who it is. inner_pid: what the template's init knows
    it by, where nobody else can tell that.
    """

    entry: str
    workdir: str
    env: Mapping[str, str]
    ends: Ends
    told: int
    kept: tuple[int, ...]
    renew: Callable[[], None]
    spare: bool = False
    inner_pid: int = 0


def run_arrived(arrival: Arrival) -> NoReturn:
    """Become the runner in a fork of a template, and end with it; never returns."""
    told = arrival.told
    try:
        signal.set_wakeup_fd(-1)
        _set_handler(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        syscalls.set_name("squall-runner")
        syscalls.replace_command_line("squall-runner")
        sys.argv[:] = sys.orig_argv[:] = ["squall-runner"]
        os.chdir(arrival.workdir)
        os.environ.update(arrival.env)
        _place(arrival.ends, told, arrival.kept)
        told = _FIRST_FREE_FD
        syscalls.set_dumpable(dumpable=True)
        arrival.renew()
        # Written out: each line of Python that a fork runs for the first time costs it copies of the pages that it touches.
        os.write(told, b'{"t":"running","at":%.6f,"inner_pid":%d}' % (time.monotonic(), arrival.inner_pid))
        os.close(told)
        if arrival.spare:
            _await_identity()
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the template's own stack
        with socket.socket(fileno=told) as line:
            _fail(line, f"{type(problem).__name__}: {problem}")
        os._exit(_CANNOT_RUN)
    _run_forked(arrival.entry)


def _await_identity() -> None:
    """A spare stands here until it becomes some container; without a launcher it becomes none."""
    # Rehearsed, so that the pages that are written to by listening are its own by the time that it counts.
    ours, theirs = packet.pair()
    with ours, theirs:
        packet.send(theirs, {"t": "begin", "env": dict(os.environ)})
        _take_identity(ours)
    with socket.socket(fileno=os.dup(CONTROL_FD)) as control:
        _take_identity(control)


def _take_identity(line: socket.socket) -> None:
    got = packet.receive(line)
    if got is None:
        os._exit(0)
    os.environ.update(got.message["env"])


def start_runner(spec: SandboxSpec, ends: Ends, line: socket.socket) -> NoReturn:
    """Become the runner, or the command that `spec` gives in its place, and end with it; never returns.

    Tells the launcher over `line` when everything is ready, or what is not.
    """
    try:
        _become(spec, ends, line)
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the first process's own stack
        _fail(line, f"{type(problem).__name__}: {problem}")
    os._exit(_CANNOT_RUN)


def _become(spec: SandboxSpec, ends: Ends, line: socket.socket) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    syscalls.die_with_parent(signal.SIGKILL)
    os.setsid()
    syscalls.set_name("squall-runner")
    syscalls.replace_command_line("squall-runner")
    sys.argv[:] = sys.orig_argv[:] = ["squall-runner"]
    os.chdir(spec.workdir)
    os.environ.clear()
    os.environ.update(spec.env)
    told = os.dup(line.fileno())
    _place(ends, told)
    with socket.socket(fileno=_FIRST_FREE_FD) as last:
        packet.send(last, {"t": "running", "at": time.monotonic()})
    if spec.argv is not None:
        os.close(CONTROL_FD)
        os.close(LOG_FD)
        # Python ignores it, and a program inherits what is ignored.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if spec.user is not None:
            _become_user(*spec.user)
        _execute(spec.argv[0], list(spec.argv), dict(spec.env))
    if spec.interpreter is not None:
        os.set_inheritable(CONTROL_FD, True)
        os.set_inheritable(LOG_FD, True)
        env = {**spec.env, "SQUALL_RUNNER_FDS": f"{CONTROL_FD},{LOG_FD}"}
        module = spec.entry.partition(":")[0].removesuffix(".main")
        _execute(spec.interpreter, [spec.interpreter, "-m", module], env)
    syscalls.set_dumpable(dumpable=True)
    _run_forked(spec.entry)


def _place(ends: Ends, told: int, kept: tuple[int, ...] = ()) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    place(
        {
            0: null,
            1: ends.out,
            2: ends.err,
            CONTROL_FD: ends.control,
            LOG_FD: ends.log,
            _FIRST_FREE_FD: told,
        },
        kept,
    )


def place(wanted: Mapping[int, int], kept: tuple[int, ...] = ()) -> None:
    """Give each descriptor its number, and close all others but `kept`. Moved out of the way first, so that none hits another."""
    away = {number: _move_away(fd) for number, fd in wanted.items()}
    for number, fd in away.items():
        os.dup2(fd, number, inheritable=number <= 2)
    syscalls.close_others((*wanted, *kept))


def _move_away(fd: int) -> int:
    """A copy of `fd` above every number that is about to be used."""
    copies = [os.dup(fd)]
    while copies[-1] <= _FIRST_FREE_FD:
        copies.append(os.dup(fd))
    for copy in copies[:-1]:
        os.close(copy)
    return copies[-1]


def _become_user(uid: int, gid: int) -> None:
    """This user from here on, and with that without the capabilities of root."""
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _execute(path: str, argv: list[str], env: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(path, argv, env)  # noqa: S606 - no shell is the point
    except OSError as problem:
        os.write(2, f"{path}: {problem.strerror}\n".encode())
        os._exit(_NOT_FOUND if isinstance(problem, FileNotFoundError) else _CANNOT_RUN)


def _run_forked(entry: str) -> NoReturn:
    """Run the entry in this very interpreter, and end the way a Python program ends."""
    code = 1
    try:
        run = _find(entry)
        run(CONTROL_FD, LOG_FD)
        code = 0
    except SystemExit as problem:
        code = problem.code if isinstance(problem.code, int) else int(problem.code is not None)
    except BaseException:  # noqa: BLE001 - the user's code ends here
        traceback.print_exc()
    try:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code & 0xFF)


def _find(entry: str) -> Callable[[int, int], None]:
    module, _, name = entry.partition(":")
    found: Callable[[int, int], None] = getattr(importlib.import_module(module), name)
    return found


def _fail(line: socket.socket, why: str) -> None:
    try:
        packet.send(line, {"t": "failed", "step": f"starting the runner: {why}"})
    except OSError:
        pass  # The launcher is gone: nobody is left to tell.
