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
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from squall.runtime import packet, syscalls
from squall.runtime.spec import SandboxSpec

CONTROL_FD = 3
LOG_FD = 4
_FIRST_FREE_FD = 10
OWN_FDS = (0, 1, 2, CONTROL_FD, LOG_FD, _FIRST_FREE_FD)
RUNNER_NAME = "squall-runner"
_CANNOT_RUN = 126
_NOT_FOUND = 127
# The function itself, without what makes enumerations of numbers: a fork would copy the pages of all that.
_set_handler: Callable[[int, int], object] = importlib.import_module("_signal").signal
_SIGCHLD, _DEFAULT = int(signal.SIGCHLD), int(signal.SIG_DFL)

Run = Callable[[int, int], None]


class Ends(NamedTuple):
    """The runner's ends of its descriptors: the control and log sockets, the pipes behind fd 1 and 2."""

    control: int
    log: int
    out: int
    err: int

    def close(self) -> None:
        """Let go of them, in a process that has handed them on."""
        for fd in self:
            os.close(fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What every fork of a template is, made before the first of them.

    entry: what it runs, run: the same where it is known already. session: becomes one of its own, by its name. alone:
    closes all but OWN_FDS. renew: what it does to share nothing with its siblings.
    """

    entry: str
    run: Run | None
    workdir: str
    session: syscalls.Prepared
    alone: syscalls.Prepared
    renew: Callable[[], None]


class Sent(NamedTuple):
    """What comes with the word to fork: its variables, its descriptors, a socket to the launcher for one word of its own.

    spare: it waits to be told who it is.
    """

    env: Mapping[str, str]
    ends: Ends
    told: int
    spare: bool


def run_arrived(arrival: Arrival, sent: Sent, kept: tuple[int, ...], *, inner_pid: int) -> NoReturn:
    """Become the runner in a fork of a template that has entered its sandbox, and end with it; never returns.

    kept: descriptors of the user's code that stay open. inner_pid: what the template's init knows it by, where nobody
    else can tell that.

    Each object that a fork touches for the first time costs it the copy of a page. So this has plain numbers for what has a
    name in an enumeration, and whatever can be made before is made in the template.
    """
    env, ends, told, spare = sent
    try:
        signal.set_wakeup_fd(-1)
        _set_handler(_SIGCHLD, _DEFAULT)
        arrival.session.make()
        sys.argv[:] = sys.orig_argv[:] = [RUNNER_NAME]
        os.chdir(arrival.workdir)
        if env:
            os.environ.update(env)
        _place_above(ends, told, kept, arrival.alone)
        told = _FIRST_FREE_FD
        syscalls.set_dumpable(dumpable=True)
        arrival.renew()
        os.write(told, b'{"t":"running","at":%.6f,"inner_pid":%d}' % (time.monotonic(), inner_pid))
        os.close(told)
        if spare:
            _await_identity()
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the template's own stack
        with socket.socket(fileno=told) as line:
            _fail(line, f"{type(problem).__name__}: {problem}")
        os._exit(_CANNOT_RUN)
    _run_forked(arrival.entry, arrival.run)


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
    syscalls.set_name(RUNNER_NAME)
    syscalls.replace_command_line(RUNNER_NAME)
    sys.argv[:] = sys.orig_argv[:] = [RUNNER_NAME]
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


def _place_above(ends: Ends, told: int, kept: tuple[int, ...], alone: syscalls.Prepared) -> None:
    """The same where the low numbers were held, so that none that is to be placed has one of them."""
    if min(told, *ends) <= _FIRST_FREE_FD:
        _place(ends, told, kept)
        return
    os.dup2(_FIRST_FREE_FD, 0)
    os.dup2(ends.out, 1)
    os.dup2(ends.err, 2)
    os.dup2(ends.control, CONTROL_FD, False)
    os.dup2(ends.log, LOG_FD, False)
    os.dup2(told, _FIRST_FREE_FD, False)
    if kept:
        syscalls.close_others((*OWN_FDS, *kept))
    else:
        alone.make()


def hold_low_numbers() -> None:
    """Have something harmless at every number that a runner's own descriptors are placed at.

    Whatever a template opens or is sent from then on is above them, so that it is in the way of none.
    """
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    while null <= _FIRST_FREE_FD:
        null = os.dup(null)
    os.close(null)


def place(wanted: Mapping[int, int], kept: tuple[int, ...] = ()) -> None:
    """Give each descriptor its number, and close all others but `kept`. Moved out of the way first, so that none hits another."""
    highest = max(_FIRST_FREE_FD, *wanted)
    away = {number: _move_away(fd, highest) for number, fd in wanted.items()}
    for number, fd in away.items():
        os.dup2(fd, number, inheritable=number <= 2)
    syscalls.close_others((*wanted, *kept))


def _move_away(fd: int, highest: int) -> int:
    """A copy of `fd` above every number that is about to be used."""
    copies = [os.dup(fd)]
    while copies[-1] <= highest:
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


def _run_forked(entry: str, run: Run | None = None) -> NoReturn:
    """Run the entry in this very interpreter, and end the way a Python program ends."""
    code = 1
    try:
        if run is None:
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


def _find(entry: str) -> Run:
    module, _, name = entry.partition(":")
    found: Run = getattr(importlib.import_module(module), name)
    return found


def _fail(line: socket.socket, why: str) -> None:
    try:
        packet.send(line, {"t": "failed", "step": f"starting the runner: {why}"})
    except OSError:
        pass  # The launcher is gone: nobody is left to tell.
