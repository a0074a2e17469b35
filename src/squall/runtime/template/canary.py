"""Canary: one fork of a template that shows whether its children live."""

import contextlib
import faulthandler
import importlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

LIMIT_S = 5.0
_TOLD_BYTES = 4000
# The child's last word: a hook that ends the process with status 0 is no proof of health.
_DONE = b"\0"
_ALLOCATED = 8 * 1024 * 1024
# Where pidfds are refused, the end is looked for so often.
_LOOK_S = 0.005


class Health(StrEnum):
    """How the child fared: hung is killed at the limit, crashed is by a signal, failed is by an exception or a status."""

    HEALTHY = "healthy"
    HUNG = "hung"
    CRASHED = "crashed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """What became of the child. why: for people; where it hung or crashed, with the Python lines, if they are known."""

    health: Health
    why: str = ""
    took_s: float = 0.0

    @property
    def lives(self) -> bool:
        """Whether the template may be used."""
        return self.health is Health.HEALTHY


def try_fork(renew: Callable[[], object], *, limit_s: float = LIMIT_S) -> Canary:
    """Fork one child that runs `renew`, then starts a thread, imports, allocates and computes; say how it fared.

    renew: what every child of this template does after its fork. The child is killed after limit_s seconds.
    """
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _live(renew, write, limit_s)
    os.close(write)
    try:
        status = _wait(pid, limit_s)
        return _judge(status, _told(read), limit_s=limit_s, took_s=time.monotonic() - started)
    finally:
        os.close(read)


def check() -> None:
    """What any program does sooner or later; where a lock was copied while it was held, this hangs."""
    worker = threading.Thread(target=_compute, daemon=True)
    worker.start()
    worker.join()
    importlib.import_module("colorsys")
    with memoryview(bytearray(_ALLOCATED)) as view:
        view[-1] = 1
    _compute()


def _compute() -> None:
    """A product of matrices that is large enough for every thread of the libraries that are loaded."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        square = numpy.ones((300, 300), dtype="float32")
        _expect(float((square @ square)[0, 0]), 300.0)
    torch = sys.modules.get("torch")
    if torch is not None:
        square = torch.ones(300, 300)
        _expect(float((square @ square).sum()), 300.0**3)


def _expect(got: float, expected: float) -> None:
    if abs(got - expected) > 1e-3 * expected:
        raise ArithmeticError(f"a product of matrices gave {got}, not {expected}")


def _live(renew: Callable[[], object], write: int, limit_s: float) -> NoReturn:
    code = 1
    try:
        faulthandler.enable(file=write, all_threads=True)
        # Says where it hangs; a thread of the C library's, so it may only be started after the fork.
        faulthandler.dump_traceback_later(limit_s * 0.8, file=write)
        renew()
        check()
        os.write(write, _DONE)
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may unwind into the template's own stack
        with contextlib.suppress(OSError):
            os.write(write, traceback.format_exc().encode(errors="replace")[-_TOLD_BYTES:])
    finally:
        os._exit(code)


def _wait(pid: int, limit_s: float) -> int | None:
    """The status that the child ended with; None where it had to be killed."""
    if _ends_within(pid, limit_s):
        return os.waitpid(pid, 0)[1]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _ends_within(pid: int, limit_s: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return _looks_ended_within(pid, limit_s)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(limit_s * 1000))
    finally:
        os.close(handle)


def _looks_ended_within(pid: int, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _told(read: int) -> bytes:
    """What the child wrote: not waited for, since its own children may hold the pipe open."""
    try:
        return os.read(read, 4 * _TOLD_BYTES)
    except BlockingIOError:
        return b""


def _judge(status: int | None, told: bytes, *, limit_s: float, took_s: float) -> Canary:
    if status == 0 and told.endswith(_DONE):
        return Canary(health=Health.HEALTHY, took_s=took_s)
    if status is None:
        health, why = Health.HUNG, f"a forked child did not end its check within {limit_s:g} s"
    elif os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        health, why = Health.CRASHED, f"a forked child was ended by {name}"
    else:
        code = os.waitstatus_to_exitcode(status)
        health, why = Health.FAILED, f"a forked child failed its check with status {code}"
    said = told[-_TOLD_BYTES:].decode(errors="replace").strip()
    return Canary(health=health, why=f"{why}\n{said}".rstrip(), took_s=took_s)
