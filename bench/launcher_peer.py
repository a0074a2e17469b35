"""Launcher peer: Squall at the agent's place, one launcher driven directly, each rung of its ladder demanded."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene import RUNNER, AbsentError, Sample, Scene, parse_answer
from squall.runtime import packet
from squall.runtime.spec import Mount, SandboxSpec
from undisturbed import go_ahead

# The names that a launcher gives to the rungs, by the names that the figures have.
RUNGS = {
    "squall_spare": "spare",
    "squall_template": "pooled",
    "squall_on_demand": "on_demand",
    "squall_parked": "parked",
    "squall_exec": "exec",
}
TEMPLATE_RUNGS = ("spare", "pooled", "on_demand")
IN_FLIGHT = 8
FEWEST = 5
_FILL_S = 1.0
_SPARE_S = 5.0
_AGAIN_S = 0.02
_ANSWER_S = 30.0
_UID_BASE = 0x6100_0000
_LAUNCH = """
import sys
sys.path[:0] = {path!r}
import {warm}
from squall.runtime.launcher.main import main
sys.exit(main({arguments!r}))
"""


@dataclass(slots=True, kw_only=True)
class Held:
    """A container that was started, and our ends of it."""

    name: str
    asked: float
    message: dict[str, Any]
    fds: tuple[int, ...]

    def read_answer(self) -> tuple[bytes, float]:
        """The line on its standard output, and when it was here."""
        line = b""
        while not line.endswith(b"\n"):
            got = os.read(self.fds[2], 4096)
            if not got:
                said = os.read(self.fds[3], 4096).decode(errors="replace")
                raise RuntimeError(f"the container {self.name} ended without an answer: {said}")
            line += got
        return line, time.monotonic()

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A result of a series: when it was here, and the rung that its container took."""

    at: float
    rung: str


class Launcher:
    """A launcher of the bench's own, and the connection of its one agent."""

    def __init__(self, scene: Scene, top: Path) -> None:
        self.scene = scene
        self.top = top
        self.process: subprocess.Popen[bytes]
        self.agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._count = 0
        self._early: list[packet.Packet] = []

    def launch(self) -> None:
        path = [*self.scene.path, self.scene.source()]
        arguments = [str(self.top / "l.sock"), "--state", str(self.top / "state")]
        program = _LAUNCH.format(path=path, warm=RUNNER, arguments=arguments)
        (self.top / "state").mkdir(parents=True)
        with open(self.top / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        self.agent.settimeout(_ANSWER_S)
        until = time.monotonic() + _ANSWER_S
        while True:
            try:
                self.agent.connect(str(self.top / "l.sock"))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"no launcher: {(self.top / 'log').read_text()}") from None
                time.sleep(0.005)

    def end(self) -> None:
        try:
            self.say({"t": "quit"})
            self.process.wait(_ANSWER_S)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.agent.close()

    def say(self, message: dict[str, Any]) -> None:
        packet.send(self.agent, message)

    def hear(self, *kinds: str, of: str | None = None) -> packet.Packet:
        """The next message of one of `kinds`, about the container `of`; others are kept for later."""
        for early in self._early:
            if early.message["t"] in kinds and of in {None, early.message.get("container")}:
                self._early.remove(early)
                return early
        while True:
            got = packet.receive(self.agent)
            if got is None:
                raise RuntimeError(f"the launcher is gone: {(self.top / 'log').read_text()[-2000:]}")
            if got.message["t"] in kinds and of in {None, got.message.get("container")}:
                return got
            self._early.append(got)

    def spec(self, kind: str, rung: str, **env: str) -> SandboxSpec:
        """A sandbox of the bench's program, alike for all rungs but for the interpreter that the last one starts."""
        self._count += 1
        name = f"b{self._count}"
        return SandboxSpec(
            id=name,
            scratch=str(self.top / "state" / "scratch" / name),
            lowers=(str(self.scene.lower),),
            mounts=tuple(Mount(source=path, target=path) for path in self.scene.shown()),
            hostname="box",
            env={**self.scene.env(kind), **env},
            workdir="/tmp",
            uid_base=_UID_BASE if os.geteuid() == 0 else None,
            entry=f"{RUNNER}:main",
            interpreter=sys.executable if rung == "exec" else None,
        )

    def ask(self, spec: SandboxSpec, rung: str | None) -> float:
        """Requests a start, by this rung and no other where one is given; the instant just before."""
        path = {} if rung is None else {"path": rung}
        asked = time.monotonic()
        self.say({"t": "start", "container": spec.id, "spec": spec.to_json(), **path})
        return asked

    def started(self, name: str | None, asked: float) -> Held:
        got = self.hear("started", "refused", of=name)
        if got.message["t"] == "refused":
            raise AbsentError(f"the launcher refused a start: {got.message.get('message')}")
        return Held(name=got.message["container"], asked=asked, message=got.message, fds=got.fds)

    def template(self, kind: str) -> None:
        """Makes the template of one kind, ready when this returns. Raises AbsentError where there can be none."""
        spec = self.spec(kind, "pooled").to_json()
        self.say({"t": "template", "spec": spec, "load": {"entry": f"{RUNNER}:preload"}})
        while True:
            got = self.hear("template", "refused").message
            if got["t"] == "refused" or got.get("state") in {"refused", "gone"}:
                raise AbsentError(
                    f"this launcher gives no template: {got.get('message') or got.get('why') or got}"
                )
            if got.get("state") == "ready":
                return


class RungStarter:
    """Starts of one kind by one rung of one launcher."""

    def __init__(self, launcher: Launcher, kind: str, rung: str) -> None:
        self._launcher = launcher
        self._kind = kind
        self._rung = rung

    def sample(self) -> Sample:
        launcher = self._launcher
        until = time.monotonic() + _SPARE_S
        while True:
            spec = launcher.spec(self._kind, self._rung)
            asked = launcher.ask(spec, self._rung)
            try:
                held = launcher.started(spec.id, asked)
                break
            except AbsentError:
                # The one before has taken the spare, and the next is being made: that is no part of this start.
                if self._rung != "spare" or time.monotonic() > until:
                    raise
                time.sleep(_AGAIN_S)
        line, got_at = held.read_answer()
        answer = parse_answer(line)
        launcher.hear("exited", of=spec.id)
        launcher.say({"t": "forget", "container": spec.id})
        held.close()
        return Sample(
            first_ms=(answer.at - asked) * 1e3,
            result_ms=(got_at - asked) * 1e3,
            rung=rung_name(held.message["rung"]),
            phases_ms=held.message["phases_ms"],
        )

    def starts_per_s(self, count: int) -> float:
        """Results a second of the starts that took this rung, several containers under way at any time.

        The pool is used until it is empty, so that one series tells of both: full, and empty. Raises AbsentError where
        too few starts took it.
        """
        if self._rung == "spare":
            raise AbsentError("one or two spares are no series")
        demanded = None if self._rung == "pooled" else self._rung
        if self._rung == "pooled":
            self._series(count, demanded)  # the pool grows with what is asked for
            time.sleep(_FILL_S)
        began = time.monotonic()
        answers = self._series(count, demanded)
        rate = rate_of(began, answers, self._rung)
        if rate is None:
            raise AbsentError(f"of {count} starts at once, {Counter(one.rung for one in answers)}")
        return rate

    def _series(self, count: int, demanded: str | None) -> list[Answered]:
        launcher, waiting = self._launcher, selectors.DefaultSelector()
        waiting.register(launcher.agent, selectors.EVENT_READ)
        specs = [launcher.spec(self._kind, self._rung) for _ in range(count)]
        answers: list[Answered] = []
        asked, ended = 0, 0
        while len(answers) < count or ended < count:
            while asked < count and asked - len(answers) < IN_FLIGHT:
                launcher.ask(specs[asked], demanded)
                asked += 1
            heard = waiting.select(_ANSWER_S)
            if not heard:
                raise RuntimeError(
                    f"nothing heard for {_ANSWER_S:g} s: {asked} asked, {len(answers)} answered, {ended} ended"
                )
            for key, _ in heard:
                if isinstance(key.data, Held):
                    line, at = key.data.read_answer()
                    parse_answer(line)
                    waiting.unregister(key.fd)
                    answers.append(Answered(at=at, rung=rung_name(key.data.message["rung"])))
                    key.data.close()
                    continue
                got = launcher.hear("started", "exited", "refused")
                match got.message["t"]:
                    case "started":
                        held = Held(
                            name=got.message["container"], asked=0.0, message=got.message, fds=got.fds
                        )
                        waiting.register(held.fds[2], selectors.EVENT_READ, held)
                    case "exited":
                        launcher.say({"t": "forget", "container": got.message["container"]})
                        ended += 1
                    case _:
                        raise RuntimeError(f"the launcher refused a start: {got.message}")
        waiting.close()
        return answers


def rate_of(began: float, answers: Sequence[Answered], rung: str) -> float | None:
    """Results a second of one rung in a series: from the result before the first of them to the last of them.

    None where they are too few to tell.
    """
    places = [place for place, one in enumerate(answers) if one.rung == rung]
    if len(places) < FEWEST:
        return None
    since = answers[places[0] - 1].at if places[0] else began
    return len(places) / (answers[places[-1]].at - since)


def rung_name(said: str) -> str:
    """The rung as the figures know it; a fork of the launcher's own interpreter was called so before it was parked."""
    return {"forked": "parked"}.get(said, said)


@contextmanager
def a_launcher(who: str, scene: Scene, kind: str) -> Iterator[Launcher]:
    """A launcher and, for the rungs that need one, its template. Raises AbsentError where there can be none."""
    launcher = Launcher(scene, scene.top / f"{who}-{kind}")
    launcher.launch()
    try:
        if RUNGS[who] in TEMPLATE_RUNGS:
            launcher.template(kind)
        go_ahead(launcher.process.pid)
        yield launcher
    finally:
        launcher.end()


@contextmanager
def squall(who: str, scene: Scene, kind: str) -> Iterator[RungStarter]:
    """Starts by one rung, each of which says which it took. Raises AbsentError where there can be no template."""
    with a_launcher(who, scene, kind) as launcher:
        yield RungStarter(launcher, kind, RUNGS[who])
