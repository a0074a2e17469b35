"""Density: what an idle container keeps in memory when a thousand of them are alive, and how fast all of them go."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import container_peers
import launcher_peer
from cold_start import chosen
from heavy_modules import default_folder, heavy_modules
from leak_count import descendants, parents_now
from measure import Bar, Samples, Turn, arguments, report, results_of, say
from scene import KINDS, AbsentError, Scene, a_scene, parse_answer

MB = 1e6
COUNT = 1000
QUICK_COUNT = 100
# A peer that shares nothing between its containers shows that with a few of them.
FEW = 20
PROCESSES_EACH = 3
DESCRIPTORS_EACH = 12
MEMORY_EACH = 6 * MB
_FIGURES = {
    "private_mb": "MB",
    "pss_mb": "MB",
    "system_mb": "MB",
    "alive": "containers",
    "start_all_s": "s",
    "kill_all_s": "s",
}
BARS = (
    Bar(metric="private_mb", factor=5.0, who="squall_template"),
    Bar(metric="private_mb_torch", factor=5.0, who="squall_template"),
)
AIMS = tuple(replace(bar, factor=2.5) for bar in BARS)


def metric(figure: str, kind: str) -> str:
    """The name of a figure; that of a bare interpreter has no addition."""
    return figure if kind == "bare" else f"{figure}_{kind}"


UNITS = {metric(figure, kind): unit for kind in KINDS for figure, unit in _FIGURES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What processes keep in memory, in bytes: their own alone, and with their share of what is shared."""

    private: int
    proportional: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much of what containers take is left on this machine."""

    processes: int
    descriptors: int
    memory: int


def memory_in(rollup: str) -> Memory:
    """The sums of a /proc/PID/smaps_rollup."""
    kib: dict[str, int] = {}
    for line in rollup.splitlines()[1:]:
        name, _, rest = line.partition(":")
        kib[name] = int(rest.split()[0])
    return Memory(
        private=(kib["Private_Clean"] + kib["Private_Dirty"]) * 1024, proportional=kib["Pss"] * 1024
    )


def memory_of(pids: Iterable[int]) -> Memory:
    """The sum over processes; one that has ended has none."""
    parts = [memory_in(text) for pid in pids if (text := _read(Path(f"/proc/{pid}/smaps_rollup")))]
    return Memory(
        private=sum(part.private for part in parts), proportional=sum(part.proportional for part in parts)
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def obstacles(count: int, room: Room) -> list[str]:
    """What does not allow so many containers at once, each with what is needed and what there is."""
    asked = (
        ("processes (pid_max, ulimit -u, pids.max)", count * PROCESSES_EACH, room.processes),
        ("open files of one process (ulimit -n)", count * DESCRIPTORS_EACH, room.descriptors),
        ("MB of available memory", round(count * MEMORY_EACH / MB), round(room.memory / MB)),
    )
    return [
        f"{count} containers need {need} {what}, and there are {there}"
        for what, need, there in asked
        if need > there
    ]


def room_now() -> Room:
    """What is left on this machine, by the narrowest of its limits."""
    in_use = len(parents_now())
    limits = [int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max")]
    if (own := resource.getrlimit(resource.RLIMIT_NPROC)[1]) != resource.RLIM_INFINITY and os.geteuid() != 0:
        limits.append(own)
    return Room(
        processes=min(limits) - in_use,
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        memory=available_memory(),
    )


def available_memory() -> int:
    """Bytes that new programs could have, by the kernel's own estimate."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not say how much memory is available")


class Holder(Protocol):
    """Somebody who can keep many containers alive."""

    most: int

    def hold(self, count: int) -> list[set[int]]:
        """Starts so many, each idle after its answer; the processes that belong to each alone, without their children."""

    def release(self, count: int) -> None:
        """Ends all of them, and returns when they are gone."""


class LauncherHolder:
    """Containers of one launcher, by one rung."""

    most = 10**6

    def __init__(self, launcher: launcher_peer.Launcher, kind: str, rung: str) -> None:
        self._launcher = launcher
        self._kind = kind
        self._rung = rung
        self._names: list[str] = []

    def hold(self, count: int) -> list[set[int]]:
        found: list[set[int]] = []
        for _ in range(count):
            spec = self._launcher.spec(self._kind, self._rung, BENCH_STAY="1")
            held = self._launcher.started(spec.id, self._launcher.ask(spec, self._rung))
            if (rung := launcher_peer.rung_name(held.message["rung"])) != self._rung and not found:
                say(f"the launcher was asked for {self._rung} and took {rung}")
            parse_answer(held.read_answer()[0])
            held.close()
            self._names.append(spec.id)
            found.append({held.message["pid"], held.message["init_pid"]})
        return found

    def release(self, count: int) -> None:
        for name in self._names:
            self._launcher.say({"t": "kill", "container": name})
        for _ in range(count):
            ended = self._launcher.hear("exited").message["container"]
            self._launcher.say({"t": "forget", "container": ended})
        self._names.clear()


class FreshHolder:
    """Programs that share nothing but files."""

    most = FEW

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._env = {**env, "BENCH_STAY": "1"}
        self._children: list[subprocess.Popen[bytes]] = []

    def hold(self, count: int) -> list[set[int]]:
        for _ in range(count):
            child = subprocess.Popen(self._command, env=self._env, stdout=subprocess.PIPE)
            self._children.append(child)
            parse_answer(child.stdout.readline() if child.stdout else b"")
        return [{child.pid} for child in self._children]

    def release(self, count: int) -> None:
        for child in self._children[:count]:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
        self._children.clear()


class ForkHolder:
    """Forks of this very process, once it has imported what the function needs: nothing can share more."""

    most = 10**6

    def __init__(self, floor: container_peers.ForkFloor) -> None:
        self._floor = floor
        self._pids: list[int] = []

    def hold(self, count: int) -> list[set[int]]:
        self._pids = [int(pid) for pid in self._floor.ask(f"stay {count}").split()]
        return [{pid} for pid in self._pids]

    def release(self, count: int) -> None:
        for pid in self._pids[:count]:
            os.kill(pid, signal.SIGKILL)
        self._floor.ask("reap")
        self._pids.clear()


@contextmanager
def _squall(who: str, scene: Scene, kind: str) -> Iterator[Holder]:
    rung = launcher_peer.RUNGS[who]
    if rung == "parked" and kind != "bare":
        raise AbsentError(
            "a parked interpreter shares none of the user's imports: a bare one shows what it takes"
        )
    with launcher_peer.a_launcher(who, scene, kind) as launcher:
        yield LauncherHolder(launcher, kind, rung)


@contextmanager
def _process(scene: Scene, kind: str) -> Iterator[Holder]:
    yield FreshHolder(container_peers.program(), scene.env(kind))


@contextmanager
def _bwrap(scene: Scene, kind: str) -> Iterator[Holder]:
    command = container_peers.bwrap_command(container_peers.found("bwrap"), scene, overlay=False)
    yield FreshHolder(command, scene.env(kind))


@contextmanager
def _os_fork(scene: Scene, kind: str) -> Iterator[Holder]:
    with container_peers.os_fork(scene, kind) as floor:
        yield ForkHolder(floor)


CONTENDERS: dict[str, Callable[[Scene, str], AbstractContextManager[Holder]]] = {
    "squall_template": partial(_squall, "squall_template"),
    "squall_parked": partial(_squall, "squall_parked"),
    "bwrap": _bwrap,
    "process": _process,
    "os_fork": _os_fork,
}


def measure(holder: Holder, kind: str, count: int) -> Samples:
    """Starts them, reads what each keeps in memory, and ends them all."""
    count = min(count, holder.most)
    before, began = available_memory(), time.monotonic()
    own = holder.hold(count)
    started_s, taken = time.monotonic() - began, before - available_memory()
    parents = parents_now()
    seen = [memory_of(pids | descendants(pids, parents)) for pids in own]
    alive = sum(one.private > 0 for one in seen)
    began = time.monotonic()
    holder.release(count)
    figures: Samples = {
        "private_mb": [one.private / MB for one in seen if one.private],
        "pss_mb": [one.proportional / MB for one in seen if one.private],
        "system_mb": [taken / MB / count],
        "alive": [float(alive)],
        "start_all_s": [started_s],
        "kill_all_s": [time.monotonic() - began],
    }
    return {metric(figure, kind): samples for figure, samples in figures.items()}


def line_of(who: str, kind: str, samples: Samples) -> str:
    """Progress: the figures of one contender."""
    said = [
        f"{figure} {statistics.median(samples[metric(figure, kind)]):.4g}"
        for figure in _FIGURES
        if samples[metric(figure, kind)]
    ]
    return f"{who}, {kind}: {', '.join(said)}"


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--count", type=int, default=0, help=f"containers at once (default {COUNT}, quick {QUICK_COUNT})"
    )
    parser.add_argument("--kinds", default="", metavar="KIND,...", help=f"of {','.join(KINDS)}")
    parser.add_argument(
        "--modules", type=Path, default=None, help="folder that has numpy and torch, or gets them installed"
    )


def main() -> None:
    """Measures each contender in turn and prints the figures. Raises SystemExit where so many cannot be."""
    options = arguments(__doc__ or "", list(CONTENDERS), _options)
    count = options.count or (QUICK_COUNT if options.quick else COUNT)
    if problems := obstacles(count, room_now()):
        raise SystemExit("; ".join(problems) + ": give a lower --count, or raise the limit")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kinds = chosen(options.kinds, KINDS, "--kinds")
    heavy, problem = (
        heavy_modules(options.modules or default_folder()) if set(kinds) - {"bare"} else (None, "")
    )
    if problem:
        say(f"skipped: {problem}")
    results: dict[str, Samples] = {}
    with a_scene(heavy) as scene:
        for kind in filter(scene.has, kinds):
            for who in options.contenders:
                try:
                    with CONTENDERS[who](scene, kind) as holder:
                        samples = measure(holder, kind, count)
                except AbsentError as absent:
                    say(f"skipped {who}, {kind}: {absent}")
                    continue
                results.setdefault(who, {}).update(samples)
                say(line_of(who, kind, samples))
    summaries = results_of({who: [Turn(samples=samples)] for who, samples in results.items()}, UNITS)
    report(summaries, reference="os_fork", bars={"bar": BARS, "aim": AIMS}, json_too=options.json)


if __name__ == "__main__":
    main()
