"""Replay: one trace on a real server and in the simulation, and how far they agree."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, Self

import squall
from commands import own_state, stop_server
from measure import machine, percentile, say
from squall.cli.asking import running_client
from squall.model.function import Scaling
from squall.model.ids import NodeId
from squall.model.node import Node
from squall.model.resources import DEFAULT_CPU_MILLI, DEFAULT_MEMORY_MIB, Resources
from squall.runtime.template import pool_plan
from squall.simulation.nodes import Starts
from squall.simulation.report import report
from squall.simulation.run import Played, Setup, World, function_of
from squall.simulation.traffic import Arrival

WINDOW_S = 3.0
MOST = 12
BURST_S = 0.1
"""Within how many seconds the calls of a burst come."""
LOOK_S = 0.05
WARM_UP, TRIALS, FEWER = 3, 15, 7
"""The first containers start without a template, and are not counted."""
PARTS = 4
"""The trace and the other one are played in turns, a part of each, so that both meet the same machine."""
OTHER_TRACE_S, OTHER_SEED = 180.0, 1000
"""Of the other trace, from which is told how much work a start is."""
LONGEST_START_S = 1.0
SIMULATIONS = 6
QUARTILES_APART = 1.349
"""How many standard deviations the quartiles of a normal distribution lie apart."""
FIRST_S = 0.15
"""One call comes before the trace on both sides, so that each knows of a start and of an input; it is not counted."""
LATER_S = 20.0
"""Before each part: by then all is as if nobody had called for long."""
OVERBOOKED = 4
"""How many times its cores an agent offers."""
AGREE = 0.20
LEAST_S = 0.010
"""Waits that differ by less than this agree: a turn of the machine for something else lasts as long."""

app = squall.App("bench-replay")


@app.function(scaledown_window=WINDOW_S, max_containers=MOST)
def nap(seconds: float) -> float:
    """When it began, on the clock that all processes of a machine share."""
    began_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    time.sleep(seconds)
    return began_s


os.environ["SQUALL_START_PATH"] = "on_demand"


@app.function(scaledown_window=WINDOW_S, max_containers=1)
def unprepared(seconds: float) -> float:
    """The same in a sandbox that is made when it is asked for."""
    return nap.local(seconds)


del os.environ["SQUALL_START_PATH"]


@app.function(scaledown_window=WINDOW_S, max_containers=MOST)
def probe(seconds: float) -> float:
    """The same, for what is measured before the trace: the server is to know of `nap` what the simulation knows."""
    return nap.local(seconds)


Trace = tuple[tuple[Arrival, ...], ...]
"""Parts, each with its calls from its own beginning on."""


class TemplatePool:
    """What a template keeps ready, as it plans itself: sandboxes, and spares among them."""

    def __init__(self) -> None:
        self._seen = pool_plan.Pool()

    def started(self, now_s: float) -> None:
        """A container was asked for."""
        self._seen = self._seen.started(now_s)

    def kept(self, now_s: float) -> int:
        """How many shall be there before anybody asks."""
        return pool_plan.wanted(self._seen, now_s=now_s) + pool_plan.spares_wanted(self._seen, now_s=now_s)

    def is_calm(self, now_s: float) -> bool:
        """Whether nobody has asked in two windows, at which what is too much is let go."""
        seen = self._seen.at(now_s)
        return not (seen.now or seen.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the simulation is told of the machine: seconds of starts one by one, as they come and each with its sandbox, and of the way of
    a call to a container that is free; how many cores there are; and how long the calls of another trace waited on average.
    """

    starts_s: tuple[float, ...]
    unprepared_s: tuple[float, ...]
    way_s: float
    cores: int
    other: Trace
    mean_wait_s: float

    def starts(self) -> Starts:
        """The same as the simulation takes it.

        One that comes alone finds what was made ahead, or is told to find nothing. How much work it is beside that for whoever makes the next
        ones ready, takes the last ones away and passes calls on cannot be seen from outside: it is what makes the simulation of the
        other trace wait as long as the machine did.
        """
        one_s = max(0.001, statistics.median(self.starts_s) - self.way_s)
        quartiles = statistics.quantiles([math.log(max(0.001, one - self.way_s)) for one in self.starts_s])
        # Of the middle half: one start that the machine was kept from says nothing of the others.
        spread = (quartiles[2] - quartiles[0]) / QUARTILES_APART
        whole_s = max(one_s, statistics.median(self.unprepared_s) - self.way_s)
        starts = Starts(pooled_s=one_s, on_demand_s=whole_s, plan=TemplatePool, shared=True, spread=spread)

        def is_enough(left_s: float) -> bool:
            waits, _ = played(self.other, replace(starts, left_s=left_s), self)
            return statistics.fmean(waits) > self.mean_wait_s

        # The least that is enough: with far more of it, other containers would be there than there were.
        low_s, high_s = 0.0, one_s
        while high_s < LONGEST_START_S and not is_enough(high_s):
            low_s, high_s = high_s, 2 * high_s
        while high_s - low_s > one_s / 50:
            middle_s = (low_s + high_s) / 2
            low_s, high_s = (low_s, middle_s) if is_enough(middle_s) else (middle_s, high_s)
        return replace(starts, left_s=low_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Waits in seconds, and container seconds."""

    mean_wait_s: float
    p50_wait_s: float
    p90_wait_s: float
    p99_wait_s: float
    container_s: float


def trace_of(length_s: float, seed: int) -> Trace:
    """As many seconds of calls as that, in PARTS."""
    return tuple(_part(length_s / PARTS, PARTS * seed + number) for number in range(PARTS))


def _part(length_s: float, seed: int) -> tuple[Arrival, ...]:
    """Bursts of 2 to 10 calls within a tenth of a second, 1 to 6 seconds apart; works of 50 to 300 ms."""
    dice = Random(seed)
    calls: list[Arrival] = []
    instant = 0.5
    while instant < length_s:
        for _ in range(dice.randint(2, 10)):
            at_s = instant + BURST_S * dice.random()
            calls.append(Arrival(at_s=at_s, work_s=(0.05 + 0.25 * dice.random(),)))
        instant += 1.0 + 5.0 * dice.random()
    return tuple(sorted(calls, key=lambda call: call.at_s))


class Census:
    """Counts the server's containers every LOOK_S, in a thread, and adds up their seconds."""

    def __init__(self) -> None:
        self.container_s = 0.0
        self.most = 0
        self.now = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_none(self) -> None:
        """Returns once no container has been there for a look or two."""
        time.sleep(2 * LOOK_S)
        while self.now:
            time.sleep(LOOK_S)

    def start_s(self, function: Any) -> float:
        """Seconds from a call at no container until its function runs; no container is left."""
        asked_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        took_s = float(function.remote(0.0)) - asked_s
        self.wait_for_none()
        return took_s

    def _run(self) -> None:
        client = running_client()
        last_s = time.monotonic()
        while not self._stop.wait(LOOK_S):
            self.now = len(client.request("container.list")["containers"])
            now_s = time.monotonic()
            self.container_s += self.now * (now_s - last_s)
            self.most = max(self.most, self.now)
            last_s = now_s


async def play_trace(calls: tuple[Arrival, ...], function: Any) -> list[float]:
    """The waits of every call of the trace to `function`, in its order."""
    began_s = time.clock_gettime(time.CLOCK_MONOTONIC)

    async def one(call: Arrival) -> float:
        due_s = began_s + call.at_s
        await asyncio.sleep(max(0.0, due_s - time.clock_gettime(time.CLOCK_MONOTONIC)))
        asked_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        return float(await function.remote.aio(call.work_s[0])) - asked_s

    return list(await asyncio.gather(*(one(call) for call in calls)))


def real(calls: Trace, other: Trace) -> tuple[Figures, Measured]:
    """What the server made of it, and what the simulation is to be told: of the trace `other`, to another function."""
    with app.run(), Census() as census:
        census.wait_for_none()
        starts_s = tuple(census.start_s(probe) for _ in range(WARM_UP + TRIALS))[WARM_UP:]
        unprepared_s = tuple(census.start_s(unprepared) for _ in range(WARM_UP + FEWER))[WARM_UP:]
        probe.remote(FIRST_S)
        census.wait_for_none()
        way_s = statistics.median(_warm_waits())
        census.wait_for_none()
        nap.remote(FIRST_S)
        census.wait_for_none()
        waits: list[float] = []
        other_waits: list[float] = []
        container_s = 0.0
        for part, other_part in zip(calls, other, strict=True):
            other_waits += asyncio.run(play_trace(other_part, probe))
            census.wait_for_none()
            census.container_s = 0.0
            waits += asyncio.run(play_trace(part, nap))
            census.wait_for_none()
            container_s += census.container_s
    measured = Measured(
        starts_s=starts_s,
        unprepared_s=unprepared_s,
        way_s=way_s,
        cores=len(os.sched_getaffinity(0)),
        other=other,
        mean_wait_s=statistics.fmean(other_waits),
    )
    return figures(waits, container_s), measured


def _warm_waits() -> list[float]:
    waits = []
    for _ in range(20):
        asked_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        waits.append(probe.remote(0.0) - asked_s)
    return waits


def simulated(calls: Trace, starts: Starts, measured: Measured) -> Figures:
    """What the simulation makes of it."""
    return figures(*played(calls, starts, measured))


def played(calls: Trace, starts: Starts, measured: Measured) -> tuple[list[float], float]:
    """The waits in simulations, on a machine with the cores and memory of this one, and container seconds of one of them on average.

    Several, as each draws anew how starts differ: the slowest few calls of one say little.
    """
    memory_mib = int(float(str(machine()["memory_gib"])) * 1024 * 0.9)
    capacity = Resources(cpu_milli=OVERBOOKED * 1000 * measured.cores, memory_mib=memory_mib)
    node = Node(id=NodeId("no-1"), cores=measured.cores, capacity=capacity)
    asks = Resources(cpu_milli=DEFAULT_CPU_MILLI, memory_mib=DEFAULT_MEMORY_MIB)
    function = function_of(
        "nap", scaling=Scaling(max_containers=MOST, scaledown_window_s=WINDOW_S), asks=asks
    )
    first = Arrival(at_s=0.0, work_s=(FIRST_S,))
    later = tuple(_in_turn(calls))

    def world_of(arrivals: tuple[Arrival, ...], seed: int) -> World:
        one = Played(function=function, arrivals=arrivals)
        return World(Setup(played=(one,), nodes=(node,), starts=starts, seed=seed)).run()

    before_s = report(world_of((first,), 0), function.id).container_s
    worlds = [world_of((first, *later), seed) for seed in range(SIMULATIONS)]
    waits = [wait + measured.way_s for world in worlds for wait in world.callers.got[function.id].waits_s[1:]]
    return waits, statistics.fmean(report(world, function.id).container_s - before_s for world in worlds)


def _in_turn(calls: Trace) -> Iterator[Arrival]:
    """The calls of all parts, one part well after the other."""
    begins_s = 0.0
    for part in calls:
        begins_s += LATER_S
        yield from (Arrival(at_s=begins_s + call.at_s, work_s=call.work_s) for call in part)
        begins_s += part[-1].at_s if part else 0.0


def figures(waits: list[float], container_s: float) -> Figures:
    """The figures of one side."""
    return Figures(
        mean_wait_s=statistics.fmean(waits),
        p50_wait_s=percentile(waits, 0.50),
        p90_wait_s=percentile(waits, 0.90),
        p99_wait_s=percentile(waits, 0.99),
        container_s=container_s,
    )


def off_by(really: float, simulation: float) -> float:
    """How far the simulation is off, as a share of what was real; 0 where both are next to nothing apart."""
    apart = abs(simulation - really)
    return 0.0 if apart <= LEAST_S else apart / max(really, LEAST_S)


def main() -> None:
    """Plays the trace on both sides and prints what they say, and where they differ by more than AGREE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("--length", type=float, default=240.0, help="seconds of the trace (default 240)")
    parser.add_argument("--seed", type=int, default=1, help="of the trace")
    options = parser.parse_args()
    calls = trace_of(options.length, options.seed)
    folder = own_state()
    try:
        there, measured = real(calls, trace_of(OTHER_TRACE_S, options.seed + OTHER_SEED))
    finally:
        stop_server(folder)
    starts = measured.starts()
    here = simulated(calls, starts, measured)
    say(
        f"{sum(map(len, calls))} calls in {options.length:g} s; a start takes {starts.pooled_s * 1e3:.1f} ms, "
        f"with its sandbox {starts.on_demand_s * 1e3:.1f}, and leaves {starts.left_s * 1e3:.1f} of work, on {measured.cores} cores, "
        f"spread {starts.spread:.2f}; a call takes {measured.way_s * 1e3:.2f} ms"
    )
    say(f"{'':<14}{'real':>10}{'simulated':>12}{'off by':>9}")
    differ = {name: off_by(value, asdict(here)[name]) for name, value in asdict(there).items()}
    for name, value in asdict(there).items():
        mark = "" if differ[name] <= AGREE else "  more than 20 %"
        say(f"{name:<14}{value:>10.4f}{asdict(here)[name]:>12.4f}{differ[name]:>9.1%}{mark}")
    if options.json:
        told = {
            "real": asdict(there),
            "simulated": asdict(here),
            "off_by": differ,
            "measured": {**asdict(measured), "other": sum(map(len, measured.other)), "left_s": starts.left_s},
        }
        print(json.dumps({"machine": machine(), "calls": sum(map(len, calls)), **told}))


if __name__ == "__main__":
    main()
