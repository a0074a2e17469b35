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
from dataclasses import asdict, dataclass
from random import Random
from typing import Self

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
WARM_UP, TRIALS, BURSTS = 3, 15, 8
"""The first containers start without a template, and the first bursts find more made ahead: they are not counted."""
HOLD_S = 1.0
"""How long a call of a burst takes, so that none of them waits for another's container."""
MADE_AHEAD = pool_plan.wanted(pool_plan.Pool(), now_s=0.0) + pool_plan.spares_wanted(
    pool_plan.Pool(), now_s=0.0
)
"""How many starts find a sandbox that is there: what a template keeps while starts do not come thick."""
CALM_S = 2 * pool_plan.WINDOW_S
"""After so long without a start a template keeps no more than that."""
QUARTILES_APART = 1.349
"""How many standard deviations the quartiles of a normal distribution lie apart."""
FIRST_S = 0.15
"""One call comes before the trace on both sides, so that each knows of a start and of an input; it is not counted."""
LATER_S = 20.0
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


@app.function(scaledown_window=WINDOW_S, max_containers=MOST)
def probe(seconds: float) -> float:
    """The same, for what is measured before the trace: the server is to know of `nap` what the simulation knows."""
    return nap.local(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the simulation is told of the machine: seconds of starts one by one, of bursts of MOST calls, each of which
    needs a container, until the last of them runs, and of the way of a call to a container that is free; and how many
    cores there are.
    """

    starts_s: tuple[float, ...]
    bursts_s: tuple[float, ...]
    way_s: float
    cores: int

    @property
    def starts(self) -> Starts:
        """The same as the simulation takes it.

        One that comes alone finds what was made ahead. A burst takes as long as all its starts are work for all cores,
        each equally much: for each a sandbox is made, be it to take the place of one that was there.
        """
        one_s = max(0.001, statistics.median(self.starts_s) - self.way_s)
        quartiles = statistics.quantiles([math.log(max(0.001, one - self.way_s)) for one in self.starts_s])
        # Of the middle half: one start that the machine was kept from says nothing of the others.
        spread = (quartiles[2] - quartiles[0]) / QUARTILES_APART
        burst_s = statistics.median(self.bursts_s) - self.way_s
        each_s = max(one_s, burst_s * self.cores / MOST)
        return Starts(
            pooled_s=one_s,
            on_demand_s=each_s,
            pool=MADE_AHEAD,
            shared=True,
            spread=spread,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Waits in seconds, and container seconds."""

    mean_wait_s: float
    p50_wait_s: float
    p90_wait_s: float
    p99_wait_s: float
    container_s: float


def trace_of(length_s: float, seed: int) -> tuple[Arrival, ...]:
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

    def start_s(self) -> float:
        """Seconds from a call at no container until its function runs; no container is left."""
        asked_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        took_s = probe.remote(0.0) - asked_s
        self.wait_for_none()
        return took_s

    def together_s(self) -> float:
        """Seconds until the last of MOST containers runs that are started together, of which few find a sandbox that was made
        ahead; none is left. They are asked for, so that nothing depends on how long the server believes that calls take.
        """
        time.sleep(CALM_S)
        asked_s = time.clock_gettime(time.CLOCK_MONOTONIC)

        async def all_of_them() -> list[float]:
            return list(await asyncio.gather(*(probe.remote.aio(HOLD_S) for _ in range(MOST))))

        probe.update_autoscaler(min_containers=MOST)
        took_s = max(asyncio.run(all_of_them())) - asked_s
        probe.update_autoscaler(min_containers=0)
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


async def play_trace(calls: tuple[Arrival, ...]) -> list[float]:
    """The waits of every call of the trace, in its order."""
    began_s = time.clock_gettime(time.CLOCK_MONOTONIC)

    async def one(call: Arrival) -> float:
        due_s = began_s + call.at_s
        await asyncio.sleep(max(0.0, due_s - time.clock_gettime(time.CLOCK_MONOTONIC)))
        asked_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        return float(await nap.remote.aio(call.work_s[0])) - asked_s

    return list(await asyncio.gather(*(one(call) for call in calls)))


def real(calls: tuple[Arrival, ...]) -> tuple[Figures, Measured]:
    """What the server made of it, and what the simulation is to be told."""
    with app.run(), Census() as census:
        census.wait_for_none()
        starts_s = tuple(census.start_s() for _ in range(WARM_UP + TRIALS))[WARM_UP:]
        bursts_s = tuple(census.together_s() for _ in range(WARM_UP + BURSTS))[WARM_UP:]
        measured = Measured(
            starts_s=starts_s,
            bursts_s=bursts_s,
            way_s=statistics.median(_warm_waits()),
            cores=len(os.sched_getaffinity(0)),
        )
        nap.remote(FIRST_S)
        census.wait_for_none()
        census.container_s = 0.0
        waits = asyncio.run(play_trace(calls))
        census.wait_for_none()
        return figures(waits, census.container_s), measured


def _warm_waits() -> list[float]:
    waits = []
    for _ in range(20):
        asked_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        waits.append(probe.remote(0.0) - asked_s)
    return waits


def simulated(calls: tuple[Arrival, ...], measured: Measured) -> Figures:
    """What the simulation makes of it, on a machine with the cores and memory of this one."""
    memory_mib = int(float(str(machine()["memory_gib"])) * 1024 * 0.9)
    capacity = Resources(cpu_milli=OVERBOOKED * 1000 * measured.cores, memory_mib=memory_mib)
    node = Node(id=NodeId("no-1"), cores=measured.cores, capacity=capacity)
    asks = Resources(cpu_milli=DEFAULT_CPU_MILLI, memory_mib=DEFAULT_MEMORY_MIB)
    scaling = Scaling(max_containers=MOST, scaledown_window_s=WINDOW_S)
    function = function_of("nap", scaling=scaling, asks=asks)
    first = Arrival(at_s=0.0, work_s=(FIRST_S,))
    later = tuple(Arrival(at_s=LATER_S + call.at_s, work_s=call.work_s) for call in calls)
    found: list[tuple[float, float]] = []
    for arrivals in ((first,), (first, *later)):
        played = Played(function=function, arrivals=arrivals)
        world = World(Setup(played=(played,), nodes=(node,), starts=measured.starts)).run()
        found.append((world.callers.got[function.id].waits_s[0], report(world, function.id).container_s))
    waits = [wait + measured.way_s for wait in world.callers.got[function.id].waits_s[1:]]
    return figures(waits, found[1][1] - found[0][1])


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
        there, measured = real(calls)
    finally:
        stop_server(folder)
    here, starts = simulated(calls, measured), measured.starts
    say(
        f"{len(calls)} calls in {options.length:g} s; a start takes {starts.pooled_s * 1e3:.1f} ms, "
        f"beyond the {starts.pool} made ahead {starts.on_demand_s * 1e3:.1f}, on {measured.cores} cores, "
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
            "measured": asdict(measured),
        }
        print(json.dumps({"machine": machine(), "calls": len(calls), **told}))


if __name__ == "__main__":
    main()
