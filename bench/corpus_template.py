"""One template of the corpus: imports quietly, is judged, and is forked many times, each child doing real work."""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import importlib.metadata
import json
import os
import random
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import corpus_work
from squall.runner import fresh
from squall.runtime.template import canary, collapse, gate, observe, quiet, reopen

AT_ONCE = 2
CHILD_LIMIT_S = 30.0
# So many children that fail tell enough, and a hang costs half a minute each.
ENOUGH_FAILURES = 3
_WRONG = 3
_DRAWS = 3
_TEMPLATE_PID = os.getpid()


@dataclass(slots=True)
class Children:
    """How the children fared. told: what the first one that failed said."""

    forks: int = 0
    hangs: int = 0
    crashes: int = 0
    wrong: int = 0
    fork_ms: list[float] = field(default_factory=list)
    told: str = ""
    drawn: set[tuple[int, float]] = field(default_factory=set)

    @property
    def failures(self) -> int:
        return self.hangs + self.crashes + self.wrong


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    handle: int
    read: int
    started_s: float


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """What became of one template.

    asked: imports, work, used (whether it works before it is judged), loud (whether native libraries start as they
    like), forks, seconds.
    """
    work = corpus_work.WORK[asked["work"]]
    settings = () if asked["loud"] else quiet.before_imports(os.environ)
    before = observe.look()
    started = time.monotonic()
    for name in asked["imports"]:
        importlib.import_module(name)
    import_s = time.monotonic() - started
    if asked["used"]:
        work()
    verdict = gate.judge(before, observe.look())
    wakers = quiet.after_imports()
    quiet.restore(settings, os.environ)
    collapsed = collapse.settle()

    def renew() -> None:
        reopen.reopen(verdict.keep)
        fresh.renew(_TEMPLATE_PID)
        quiet.wake(wakers, os.environ, threads=2)

    bird = canary.try_fork(renew, limit_s=30.0)
    children = _fork_all(renew, work, asked["forks"], asked["seconds"])
    return {
        "versions": _versions(asked["requires"]),
        "safe": verdict.safe,
        "reasons": [[one.word, str(one)] for one in verdict.reasons],
        "warnings": [[one.word, str(one)] for one in verdict.warnings],
        "canary": [str(bird.health), bird.why],
        "import_s": import_s,
        "rss_mb": _rss_mb(),
        "collapsed_mb": collapsed.collapsed / 2**20,
        "forks": children.forks,
        "hangs": children.hangs,
        "crashes": children.crashes,
        "wrong": children.wrong,
        "fork_ms": children.fork_ms,
        "told": children.told,
    }


def _fork_all(renew: Callable[[], None], work: Callable[[], None], forks: int, seconds: float) -> Children:
    """Fork until `forks` children have ended, `seconds` are over (0: no limit), or enough of them have failed."""
    done = Children()
    running: dict[int, _Child] = {}
    poll = select.poll()
    deadline = time.monotonic() + seconds if seconds else float("inf")
    while True:
        wanted = done.failures < ENOUGH_FAILURES and time.monotonic() < deadline
        while wanted and len(running) < AT_ONCE and done.forks < forks:
            child = _fork(renew, work)
            done.forks += 1
            running[child.handle] = child
            poll.register(child.handle, select.POLLIN)
        if not running:
            return done
        oldest = min(child.started_s for child in running.values())
        ended = {fd for fd, _ in poll.poll(max(0.0, oldest + CHILD_LIMIT_S - time.monotonic()) * 1000)}
        for handle, child in list(running.items()):
            late = time.monotonic() > child.started_s + CHILD_LIMIT_S
            if handle in ended or late:
                poll.unregister(handle)
                del running[handle]
                _count(child, done, hung=handle not in ended)


def _fork(renew: Callable[[], None], work: Callable[[], None]) -> _Child:
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _live(renew, work, write)
    os.close(write)
    return _Child(pid, os.pidfd_open(pid), read, started)


def _live(renew: Callable[[], None], work: Callable[[], None], write: int) -> NoReturn:
    code = 1
    try:
        os.write(write, struct.pack("d", time.monotonic()))
        faulthandler.enable(file=write)
        faulthandler.dump_traceback_later(CHILD_LIMIT_S * 0.8, file=write)
        renew()
        os.write(write, struct.pack(f"{_DRAWS}d", *_draws()))
        work()
        # As the runner ends: hooks of libraries may hang too.
        atexit._run_exitfuncs()
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may unwind into the template's own stack
        os.write(write, traceback.format_exc().encode()[-3000:])
        code = _WRONG
    finally:
        os._exit(code)


def _draws() -> list[float]:
    """A number of each global generator that is loaded, -1 for one that is not: no two children may draw the same."""
    numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    return [
        random.random(),
        float(numpy.random()) if numpy is not None else -1.0,
        float(torch.rand(1, dtype=torch.float64)) if torch is not None else -1.0,
    ]


def _is_drawn_before(told: bytes, done: Children) -> bool:
    """Whether an earlier child has drawn one of these numbers too."""
    if len(told) < 8 * (1 + _DRAWS):
        return False
    drawn = {
        (place, number)
        for place, number in enumerate(struct.unpack(f"{_DRAWS}d", told[8 : 8 * (1 + _DRAWS)]))
        if number >= 0.0
    }
    again = bool(drawn & done.drawn)
    done.drawn |= drawn
    return again


def _count(child: _Child, done: Children, *, hung: bool) -> None:
    if hung:
        os.kill(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    try:
        told = os.read(child.read, 8000)
    except BlockingIOError:
        told = b""
    os.close(child.read)
    os.close(child.handle)
    if len(told) >= 8:
        done.fork_ms.append((struct.unpack("d", told[:8])[0] - child.started_s) * 1e3)
    if hung:
        done.hangs += 1
    elif _is_drawn_before(told, done):
        done.wrong += 1
        done.told = done.told or "drew the same random numbers as another child"
    elif status and os.waitstatus_to_exitcode(status) == _WRONG:
        done.wrong += 1
    elif status:
        done.crashes += 1
    if status and not done.told:
        how = "hung" if hung else f"ended with {os.waitstatus_to_exitcode(status)}"
        done.told = f"{how}: {told[8 * (1 + _DRAWS) :].decode(errors='replace')}"


def _rss_mb() -> float:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


def _versions(requires: list[str]) -> str:
    names = [requirement.partition("=")[0].partition("[")[0] for requirement in requires]
    found = []
    for name in names[:1]:
        try:
            found.append(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            found.append("?")
    return ", ".join(found)


if __name__ == "__main__":
    _result = main(json.loads(sys.argv[1]))
    with open(sys.argv[2], "w", encoding="utf-8") as _file:
        json.dump(_result, _file)
    # As a template ends: threads that a refused package left behind need not agree.
    os._exit(0)
