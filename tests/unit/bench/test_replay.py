"""The replay bench: its trace, what it tells the simulation, and when two figures agree."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

import replay


def test_the_trace_follows_its_seed_and_holds_bursts_of_short_works() -> None:
    parts = replay.trace_of(40.0, 1)
    assert parts == replay.trace_of(40.0, 1)
    assert len({*parts, *replay.trace_of(40.0, 2)}) == 2 * replay.PARTS
    calls = [call for part in parts for call in part]
    assert all(list(part) == sorted(part, key=lambda call: call.at_s) for part in parts)
    assert all(0.05 <= call.work_s[0] <= 0.30 and call.at_s < 40.0 / replay.PARTS + 0.1 for call in calls)
    assert len(calls) > 20


def measured(*, mean_wait_s: float, other: replay.Trace) -> replay.Measured:
    return replay.Measured(
        starts_s=(0.0055, 0.0056, 0.0054),
        unprepared_s=(0.0155, 0.0157, 0.0151),
        way_s=0.0005,
        cores=2,
        other=other,
        mean_wait_s=mean_wait_s,
    )


@pytest.mark.parametrize("left_s", [0.003, 0.006, 0.012])
def test_how_much_work_a_start_leaves_is_found_again_from_how_long_calls_waited(left_s: float) -> None:
    other = replay.trace_of(60.0, 7)
    machine = measured(mean_wait_s=0.0, other=other)
    truth = replace(machine.starts(), left_s=left_s)
    waits, _ = replay.played(other, truth, machine)
    told = replace(machine, mean_wait_s=statistics.fmean(waits)).starts()
    again, _ = replay.played(other, told, machine)
    assert statistics.fmean(again) == pytest.approx(statistics.fmean(waits), rel=0.1)
    assert told.left_s == pytest.approx(left_s, rel=0.2)
    assert told.on_demand_s == pytest.approx(0.015)
    assert told.pooled_s == pytest.approx(0.005)


def test_on_a_machine_on_which_nobody_waited_long_a_start_leaves_nothing() -> None:
    assert measured(mean_wait_s=0.0, other=replay.trace_of(20.0, 7)).starts().left_s == pytest.approx(
        0.0, abs=0.001
    )


def test_figures_agree_within_their_share_and_where_they_are_next_to_nothing() -> None:
    assert replay.off_by(1.0, 1.2) == pytest.approx(0.2)
    assert replay.off_by(0.001, 0.009) == 0.0
    assert replay.off_by(0.0, 0.05) == pytest.approx(5.0)


def test_the_simulation_of_the_trace_gives_waits_of_at_least_the_way() -> None:
    told = measured(mean_wait_s=0.1, other=replay.trace_of(20.0, 7))
    found = replay.simulated(replay.trace_of(20.0, 1), told.starts(), told)
    assert 0.0005 <= found.p50_wait_s <= found.p90_wait_s <= found.p99_wait_s < 1.0
    assert found.container_s > 3.0
