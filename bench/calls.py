"""Calls: warm calls, rates, maps and large arguments, against a process pool and Ray, and what a person waits for."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import commands
from call_peers import WORKERS, Peer, process_pool
from measure import (
    Bar,
    Samples,
    Turn,
    arguments,
    report_rounds,
    report_turn,
    seconds,
    timed,
)

UNITS = {
    "warm_call_ms": "ms",
    "calls_per_s": "1/s",
    "map_10k_per_s": "1/s",
    "first_result_ms": "ms",
    "skewed_over_ideal": "x",
    "send_1mb_ms": "ms",
    "send_1mb_bytes_ms": "ms",
    "send_100mb_ms": "ms",
    "send_100mb_bytes_ms": "ms",
    **commands.UNITS,
}
BARS = (
    Bar(metric="warm_call_ms", factor=1.0),
    Bar(metric="warm_call_ms", factor=0.5, theirs="ray_actor"),
    Bar(metric="map_10k_per_s", factor=20_000, at_least=True),
    Bar(metric="skewed_over_ideal", factor=1.3),
    Bar(metric="first_result_ms", factor=5.0),
    *(
        Bar(metric=name, factor=1.0, theirs=theirs)
        for name in ("send_100mb_ms", "send_100mb_bytes_ms")
        for theirs in ("ray_actor", "ray_task")
    ),
    Bar(metric="hello_up_over_python_s", factor=0.6),
    Bar(metric="hello_stopped_over_python_s", factor=1.5),
    Bar(metric="help_ms", factor=150.0),
    Bar(metric="import_over_python_ms", factor=60.0),
)
AIMS = (
    Bar(metric="warm_call_ms", factor=1.0, theirs="process_pool"),
    Bar(metric="map_10k_per_s", factor=0.5, theirs="process_pool_chunked", at_least=True),
    Bar(metric="hello_up_over_python_s", factor=0.3),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """How often each workload runs in one turn."""

    warm: int
    calls: int
    maps: int
    send_1mb: int
    send_100mb: int


FULL = Repeats(warm=1_000, calls=2_000, maps=3, send_1mb=40, send_100mb=6)
QUICK = Repeats(warm=300, calls=1_000, maps=2, send_1mb=15, send_100mb=3)
IN_FLIGHT = 64
MAP_INPUTS = range(10_000)
WARM_SENDS = 4  # they grow buffers, and import numpy on the far side


def skewed_naps() -> list[float]:
    """Seconds of 200 inputs with a heavy tail, the same in every run: 2 ms for most, up to 250 ms for a few, shuffled."""
    drawn = random.Random(2)
    return [min(0.25, 0.002 * drawn.paretovariate(0.8)) for _ in range(200)]


def ideal_s(naps: list[float]) -> float:
    """The makespan that no schedule on two workers can beat."""
    return max(sum(naps) / WORKERS, *naps)


def measure_peer(peer: Peer, repeats: Repeats, *, maps_only: bool) -> Samples:
    """Every workload of one peer, in a fixed order, warm from the start."""
    samples: Samples = {}
    if not maps_only:
        for value in range(100):
            peer.call(value)
        samples["warm_call_ms"] = [seconds(partial(peer.call, value)) * 1e3 for value in range(repeats.warm)]
        samples["calls_per_s"] = [
            repeats.calls / seconds(lambda: peer.calls(repeats.calls, IN_FLIGHT)) for _ in range(repeats.maps)
        ]
    _maps(peer, repeats, samples)
    naps = skewed_naps()
    samples["skewed_over_ideal"] = [
        seconds(lambda: peer.naps(naps)) / ideal_s(naps) for _ in range(repeats.maps)
    ]
    if not maps_only:
        _sends(peer, repeats, samples)
    return samples


def _maps(peer: Peer, repeats: Repeats, samples: Samples) -> None:
    samples["map_10k_per_s"], samples["first_result_ms"] = [], []
    peer.map(MAP_INPUTS)
    for _ in range(repeats.maps):
        done = peer.map(MAP_INPUTS)
        if [value for value, _ in done.results] != list(MAP_INPUTS):
            raise RuntimeError("the map's results are not its inputs, in order")
        workers = len({worker for _, worker in done.results})
        if workers < WORKERS:
            peer.notes.append(f"a map of {len(MAP_INPUTS)} was answered by {workers} worker")
        samples["map_10k_per_s"].append(len(MAP_INPUTS) / done.total_s)
        samples["first_result_ms"].append(done.first_s * 1e3)


def _sends(peer: Peer, repeats: Repeats, samples: Samples) -> None:
    """Arguments are made anew for each call, outside its time; the far side sums a byte of every page."""
    for label, size, times in (("1mb", 10**6, repeats.send_1mb), ("100mb", 10**8, repeats.send_100mb)):
        for suffix, make in (("", _array), ("_bytes", _bytes)):
            if make is _array and importlib.util.find_spec("numpy") is None:
                peer.notes.append("no numpy: no arrays sent")
                continue
            taken = [_send(peer, make(size, number % 251)) for number in range(WARM_SENDS + times)]
            samples[f"send_{label}{suffix}_ms"] = taken[WARM_SENDS:]


def _send(peer: Peer, data: Any) -> float:
    expected = sum(memoryview(data).cast("B")[::4096].tolist())
    took_s, got = timed(lambda: peer.weigh(data))
    if got != expected:
        raise RuntimeError("the argument did not arrive as it was sent")
    return took_s * 1e3


def _array(size: int, fill: int) -> Any:
    return importlib.import_module("numpy").full(size, fill, dtype="uint8")


def _bytes(size: int, fill: int) -> Any:
    return bytes([fill]) * size


def _squall() -> AbstractContextManager[Peer]:
    peer: AbstractContextManager[Peer] = importlib.import_module("squall_peer").squall_peer()
    return peer


def _ray(*, actors: bool, chunked: bool) -> AbstractContextManager[Peer]:
    module = importlib.import_module("ray_peers")
    peer: AbstractContextManager[Peer] = module.ray_peer(MAP_INPUTS, actors=actors, chunked=chunked)
    return peer


CONTENDERS: dict[str, Callable[[], AbstractContextManager[Peer]]] = {
    "squall": _squall,
    "process_pool": lambda: process_pool(MAP_INPUTS, chunked=False),
    "process_pool_chunked": lambda: process_pool(MAP_INPUTS, chunked=True),
    "ray_actor": lambda: _ray(actors=True, chunked=False),
    "ray_actor_chunked": lambda: _ray(actors=True, chunked=True),
    "ray_task": lambda: _ray(actors=False, chunked=False),
    "ray_task_chunked": lambda: _ray(actors=False, chunked=True),
}


def missing_package(who: str, installed: Callable[[str], bool]) -> str:
    """The package without which `who` cannot run here, or nothing."""
    needed = "squall" if who == "squall" else "ray" if who.startswith("ray") else ""
    return needed if needed and not installed(needed) else ""


def turn_of(who: str, *, quick: bool) -> Turn:
    """One round of one contender; the peer that is not installed says so."""
    if package := missing_package(who, lambda name: importlib.util.find_spec(name) is not None):
        return Turn(skipped=f"the package {package} is not installed (pip install 'squall[server,bench]')")
    repeats = QUICK if quick else FULL
    if who != "squall":
        with CONTENDERS[who]() as peer:
            return Turn(
                samples=measure_peer(peer, repeats, maps_only=who.endswith("_chunked")),
                notes=tuple(peer.notes),
            )
    folder = commands.own_state()
    try:
        with CONTENDERS[who]() as peer:
            samples, notes = measure_peer(peer, repeats, maps_only=False), tuple(peer.notes)
    finally:
        commands.stop_server(folder)
    return Turn(samples={**samples, **commands.measure_commands(quick=quick).samples}, notes=notes)


def main() -> None:
    """Runs the rounds and prints the figures, then which bars and aims they meet."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        report_turn(turn_of(options.turn, quick=options.quick))
        return
    report_rounds(__file__, options, UNITS, reference="process_pool", bars={"bar": BARS, "aim": AIMS})


if __name__ == "__main__":
    main()
