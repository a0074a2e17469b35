"""The scene of a storm: its house, its dice, and what an injection may do there."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals

from squall.settings.exit_status import TAKEN
from squall.settings.process import ProcessMark
from squall.settings.start import command
from squall.testing.chaos.house import LocalHouse, eventually, kill
from squall.testing.chaos.report import Hit

_SPARE_FILES = 5
_VICTIM_S = 20.0
_BOLD_S = 5.0


@dataclass(slots=True)
class Scene:
    """A house under load. killed: how many processes the suite has ended so far. broken: promises that did not hold.

    helpers: programs that injections have begun; others wait for their end.
    """

    house: LocalHouse
    dice: random.Random
    killed: int = 0
    broken: list[str] = field(default_factory=list)
    helpers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def one(self, role: str) -> ProcessMark | None:
        """A process of a role, drawn."""
        there = self.house.processes(role)
        return self.dice.choice(there) if there else None

    def end(self, *roles: str) -> float | None:
        """Kills a process of each role; when, or None where there was none."""
        marks = [mark for role in roles if (mark := self.one(role)) is not None]
        ended = [mark for mark in marks if kill(mark, SIGKILL)]
        self.killed += len(ended)
        return time.monotonic() if ended else None

    def reboot(self) -> float | None:
        """Kills everything below the clients, and takes away what does not outlive a start of the machine."""
        roles = ("supervisor", "agent", "server", "launcher")
        marks = [mark for role in roles for mark in self.house.processes(role)]
        self.killed += sum(kill(mark, SIGKILL) for mark in marks)
        # In one step, and before a client has started anything again.
        os.rename(self.house.paths.run, self.house.folder / f"run-{time.monotonic_ns()}")
        return time.monotonic() if marks else None

    def halt(self, role: str, seconds: float) -> float | None:
        """Stops a process of a role for so long; when it went on, or None where there was none."""
        mark = self.one(role)
        if mark is None or not kill(mark, SIGSTOP):
            return None
        time.sleep(seconds)
        return time.monotonic() if kill(mark, SIGCONT) else None

    def starve(self, role: str, seconds: float) -> float | None:
        """Leaves a process few more descriptors than it has, for so long."""
        mark = self.one(role)
        if mark is None:
            return None
        try:
            before = resource.prlimit(mark.pid, resource.RLIMIT_NOFILE)
            used = len(self.house.descriptors(mark))
            resource.prlimit(mark.pid, resource.RLIMIT_NOFILE, (used + _SPARE_FILES, before[1]))
            time.sleep(seconds)
            resource.prlimit(mark.pid, resource.RLIMIT_NOFILE, before)
        except (ProcessLookupError, FileNotFoundError):
            return None
        return time.monotonic()

    def hostile(self, kind: str) -> float:
        """Begins a program of hostile calls; what it finds wrong stands in the ledger."""
        name = f"hostile-{len(self.helpers)}"
        self.helpers[name] = self.house.program("hostile.py", name, kind)
        return time.monotonic()

    def lose_client(self) -> float | None:
        """A client with a map and spawned calls is killed in the middle; all that it had must go."""
        name = f"victim-{len(self.helpers)}"
        client = self.house.client(name, {"map": 3000, "spawn": 40, "seconds": 0.002, "for_s": 60.0})
        begun = eventually(lambda: self.house.account(frozenset({name})).answers, _VICTIM_S)
        client.send_signal(Signals.SIGKILL)
        client.wait()
        self.killed += 1
        return time.monotonic() if begun else None

    def second(self, role: str) -> float:
        """Starts another server, or agent, in the same state directory: it must find the lock taken."""
        argv = command(f"squall.{role}", "--state", str(self.house.paths.state))
        held = bool(self.house.processes(role))
        other = subprocess.Popen(
            argv, env=self.house.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            code = other.wait(_BOLD_S)
        except subprocess.TimeoutExpired:
            # It came between two of them, and was the one; the next takes its place.
            other.kill()
            other.wait()
            return time.monotonic()
        if held and code != TAKEN:
            self.broken.append(f"a second {role} ended with {code}, not {TAKEN}")
        return time.monotonic()


Injection = Callable[[Scene], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the catalogue. inject: does it, and says when it was done (monotonic); None where there was nothing to do it to.

    number: the catalogue's. holds: what must be so all the same. proof: how that is seen. breaks: whether outcomes may stay away for
    a while, so that it is measured how long.
    """

    number: str
    what: str
    holds: str
    inject: Injection
    proof: str = "the ledger: 0 lost, 0 doubled, 0 stuck"
    breaks: bool = True

    def hit(self, at_s: float) -> Hit:
        return Hit(kind=f"{self.number} {self.what}", what=self.holds, at_s=at_s, breaks=self.breaks)
