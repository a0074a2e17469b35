"""The packages of a template, imported before the user's code: where that took long, a process stays that has nothing else,
and the templates of later versions are forked from it.
"""

import importlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from squall.runtime import children, packet, syscalls
from squall.runtime.children import BROKEN
from squall.runtime.runner_start import hold_low_numbers, place
from squall.runtime.spec import PACKAGES_ENTRY, RENEW_ENTRY, SUITS_ENTRY
from squall.runtime.template import collapse, gate, observe
from squall.runtime.template.plan import SYS_ADMIN
from squall.wire.rights import close_all

Message = dict[str, Any]

# Where a template has its lines to the launcher, out of the way of what user code opens: its own, and that of its packages,
# which is above what is held for runners.
CONTROL_FD = 3
PACKAGES_FD = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A template that has its packages, and loads the user's code next.

    load: what the entry named in it is called with; its "heavy_s" is how many seconds of a core packages take that are worth a
    process. before: how the process was before it imported what is not judged yet. keep,
    notes: of the verdict on what is; seconds: how long that took.
    """

    load: Mapping[str, Any]
    before: gate.Seen
    seconds: float = 0.0
    keep: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def with_code(load: Mapping[str, Any], code: int | None) -> dict[str, Any]:
    """The same with the code that travels by value as "pickled", from its file."""
    by_value = {} if code is None else {"pickled": os.pread(code, os.fstat(code).st_size, 0)}
    return {**load, **by_value}


def grow(load: Mapping[str, Any], workdir: str) -> Grown:
    """Import the packages that the code begins with; returns in every process that is to become a template.

    In this one where nothing heavy was found. Else in a fork that is for `load`, and in one for each load that is asked
    for later, while this one stays as it is until its launcher lets go of it. A template of packages of its own says who it is.
    Raises what a package raises, and what says that the packages are not for this code: the process is of no use then.
    """
    line = socket.socket(fileno=PACKAGES_FD)
    before = observe.look()
    imported = _import(load, before)
    if imported is None:
        line.close()
        syscalls.set_capabilities(SYS_ADMIN)
        return Grown(load=load, before=before)
    stem = _Stem(line, imported, load, workdir)
    stem.settle()
    if not stem.fork():
        load = stem.await_request()
    else:
        line.close()
    syscalls.set_capabilities(SYS_ADMIN)
    syscalls.set_dumpable(dumpable=True)
    stem.renew(stem.pid)
    if stem.asked:
        stem.suits(load, imported.names)
    with socket.socket(fileno=os.dup(CONTROL_FD)) as control:
        packet.send(control, {"t": "born", "pid": os.getpid(), "packages": stem.pid})
    return Grown(
        load=load,
        before=observe.look(),
        seconds=imported.seconds,
        keep=imported.verdict.keep,
        notes=tuple(str(one) for one in imported.verdict.warnings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Imported:
    names: list[str]
    seconds: float
    verdict: gate.Verdict


def _import(load: Mapping[str, Any], before: gate.Seen) -> _Imported | None:
    """What was imported; None where that is not worth a process that stays, or where none may be forked."""
    began, used = time.monotonic(), time.process_time()
    names: list[str] = find(str(load.get("ahead", PACKAGES_ENTRY)))(load)
    if not names or time.process_time() - used < float(load["heavy_s"]):
        return None
    seconds = time.monotonic() - began
    verdict = gate.judge(before, observe.look())
    return _Imported(names=names, seconds=seconds, verdict=verdict) if verdict.safe else None


class _Stem:
    """The process that stays. asked: whether this is a fork of it that was asked for later."""

    def __init__(
        self, line: socket.socket, imported: _Imported, load: Mapping[str, Any], workdir: str
    ) -> None:
        self.pid = os.getpid()
        self.asked = False
        self.renew: Callable[[int], object] = find(str(load.get("renew", RENEW_ENTRY)))
        self.suits: Callable[[Mapping[str, Any], list[str]], object] = find(
            str(load.get("suits", SUITS_ENTRY))
        )
        self._line = line
        self._imported = imported
        self._workdir = workdir
        self._load: dict[str, Any] = {}

    def settle(self) -> None:
        """Be cheap to fork, and out of the reach of whatever is forked; and say so."""
        collapse.settle()
        # User code will run with the same ids: only the machine's root may look into this process.
        syscalls.set_dumpable(dumpable=False)
        found = self._imported
        told: Message = {"t": "packages", "names": found.names, "seconds": round(found.seconds, 6)}
        packet.send(self._line, told)

    def fork(self) -> bool:
        """Whether this is the fork, which is a child of the template's init and of nobody else."""
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return False
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            os._exit(BROKEN)
        return True

    def await_request(self) -> Mapping[str, Any]:
        """Stay until the line ends, which ends the process; returns in a fork, with what that is to load."""
        null = os.open("/dev/null", os.O_RDWR)
        place(
            {0: null, 1: null, 2: null, PACKAGES_FD: self._line.detach()},
            self._imported.verdict.keep,
        )
        self._line = socket.socket(fileno=PACKAGES_FD)
        children.serve(children.wake_for_children(), self._line, obey=self._obey, take=lambda _ended: None)
        if not self.asked:
            os._exit(0)
        return self._load

    def _obey(self) -> bool:
        got = packet.receive(self._line)
        if got is None:
            return False
        if got.message.get("t") == "derive" and self.fork():
            self.asked = True
            self._enter(got)
            return False
        close_all(got.fds)
        return True

    def _enter(self, got: packet.Packet) -> None:
        """In a fork: be where the other version's files are, with descriptors of its own."""
        door, control, out, err, *code = got.fds
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._load = with_code(got.message["load"], code[0] if code else None)
        syscalls.setns(door, syscalls.CLONE_NEWNS)
        null = os.open("/dev/null", os.O_RDONLY)
        self._line.detach()
        place({0: null, 1: out, 2: err, CONTROL_FD: control}, self._imported.verdict.keep)
        hold_low_numbers()
        os.chdir(self._workdir)


def find(entry: str) -> Callable[..., Any]:
    """What an entry, "module:name", names. Raises ImportError, AttributeError."""
    module, _, name = entry.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
