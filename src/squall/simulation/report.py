"""Report: what a run says of its policy, in numbers that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from squall.model.ids import FunctionId
from squall.simulation.callers import Got
from squall.simulation.run import World

FLAP_S = 60.0
"""A start so soon after the function has let a container go counts as a flap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One function under one policy.

    cold: the share of inputs that met no container which was ready when they came. p50_wait_s, p99_wait_s,
    longest_wait_s: from the arrival of an input until its function was run. idle_per_busy: seconds in which containers
    were there and did not work, for each second of work that counted. over_peak: by how many containers outnumbered
    inputs at most. drain_s: how long maps took on average, None without any. flaps_per_hour: starts within FLAP_S after
    a container was let go.
    """

    inputs: int
    failed: int
    cold: float
    p50_wait_s: float
    p99_wait_s: float
    longest_wait_s: float
    idle_per_busy: float
    over_peak: int
    starts: int
    drain_s: float | None
    flaps_per_hour: float
    container_s: float


def report(world: World, function: FunctionId) -> Report:
    """What a run says of its policy, for a run of one function."""
    got, count = world.callers.got.get(function, Got()), world.planning.count
    there_s = sum(machine.tally.there_s for machine in world.machines)
    waits = sorted(got.waits_s)
    started = count.started.get(function, [])
    hours = max(1e-9, world.clock.now_s / 3600)
    return Report(
        inputs=len(waits) + got.failed,
        failed=got.failed,
        cold=got.cold / max(1, len(waits)),
        p50_wait_s=percentile(waits, 0.50),
        p99_wait_s=percentile(waits, 0.99),
        longest_wait_s=percentile(waits, 1.0),
        idle_per_busy=(there_s - got.worked_s) / got.worked_s if got.worked_s else 0.0,
        over_peak=count.over.get(function, 0),
        starts=len(started),
        drain_s=sum(got.drains_s) / len(got.drains_s) if got.drains_s else None,
        flaps_per_hour=_flaps(started, count.retired.get(function, [])) / hours,
        container_s=there_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Several functions under one policy: the cold share over all inputs, and the mean of the functions' shares."""

    cold_per_input: float
    cold_per_function: float


def total(reports: Sequence[Report]) -> Total:
    """What several functions say together."""
    inputs = sum(one.inputs for one in reports)
    return Total(
        cold_per_input=sum(one.cold * one.inputs for one in reports) / max(1, inputs),
        cold_per_function=sum(one.cold for one in reports) / max(1, len(reports)),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of ordered values does not exceed; 0.0 for none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _flaps(started: Sequence[float], retired: Sequence[float]) -> int:
    """How many starts follow a retirement within FLAP_S; both in order of time."""
    flaps = place = 0
    last = float("-inf")
    for instant in started:
        while place < len(retired) and retired[place] <= instant:
            last = retired[place]
            place += 1
        flaps += instant - last <= FLAP_S
    return flaps
