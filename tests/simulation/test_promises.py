"""What the planner promises, in numbers, on virtual time; and what Knative's autoscaler makes of the same traffic."""

from __future__ import annotations

import pytest

from squall.model.function import Scaling
from squall.simulation.compare import Case, Row, play
from squall.simulation.nodes import HOP_S, Starts
from squall.simulation.traffic import Arrival, Load, arrivals

SEEDS = (1, 2)


def burst(inputs: int, *, work_s: float) -> tuple[Arrival, ...]:
    return tuple(Arrival(at_s=0.0, work_s=(work_s,)) for _ in range(inputs))


def case(kind: str, seed: int, load: Load | None = None, start_s: float = 0.5) -> Case:
    return Case(
        kind=kind,
        arrivals=arrivals(kind, load or Load(length_s=900.0), seed=seed),
        starts=Starts(pooled_s=start_s, on_demand_s=start_s),
        seed=seed,
    )


def test_a_burst_within_the_ceiling_waits_for_one_start_only() -> None:
    starts = Starts(pooled_s=2.0, on_demand_s=2.0)
    told = play(
        Case(kind="burst", arrivals=burst(50, work_s=1.0), starts=starts, scaling=Scaling(max_containers=50)),
        "squall",
    ).report
    assert told.inputs == 50
    # Where nothing is known of a function, containers are as many as cores; 50 inputs find 64 cores.
    assert told.longest_wait_s == pytest.approx(2.0, abs=5 * HOP_S)


def test_a_second_call_within_the_window_meets_a_container_and_one_after_it_does_not() -> None:
    calls = tuple(Arrival(at_s=at_s, work_s=(0.1,)) for at_s in (0.0, 30.0, 120.0))
    told = play(Case(kind="three", arrivals=calls), "squall").report
    assert told.cold == pytest.approx(2 / 3)
    assert told.container_s == pytest.approx(0.5 + 30.1 + 60 + 0.6 + 60, abs=1.5), "60 s after the last work"


def test_what_is_kept_is_there_for_the_first_call() -> None:
    calls = (Arrival(at_s=10.0, work_s=(0.1,)),)
    told = play(Case(kind="one", arrivals=calls, scaling=Scaling(min_containers=1)), "squall").report
    assert told.cold == 0
    assert told.p99_wait_s <= 3 * HOP_S


@pytest.mark.parametrize("seed", SEEDS)
def test_bursty_traffic_waits_two_fifths_of_what_it_waits_under_kpa_at_less_waste(seed: int) -> None:
    """With a window of 3 s in place of 60 s, which is what it takes to waste less."""
    theirs, ours = _both(case("bursty", seed), window_s=3.0)
    assert ours.report.p99_wait_s <= 0.4 * theirs.report.p99_wait_s
    assert ours.report.idle_per_busy <= 0.7 * theirs.report.idle_per_busy


@pytest.mark.parametrize("seed", SEEDS)
def test_with_the_window_that_is_usual_bursty_traffic_waits_a_fifth_at_up_to_twice_the_waste(
    seed: int,
) -> None:
    theirs, ours = _both(case("bursty", seed), window_s=60.0)
    assert ours.report.p99_wait_s <= 0.2 * theirs.report.p99_wait_s
    assert theirs.report.idle_per_busy <= ours.report.idle_per_busy <= 2.1 * theirs.report.idle_per_busy


@pytest.mark.parametrize("seed", SEEDS)
def test_maps_in_bursts_wait_less_than_under_kpa_at_less_waste(seed: int) -> None:
    theirs, ours = _both(case("burst-map", seed), window_s=60.0)
    assert ours.report.p99_wait_s <= 0.75 * theirs.report.p99_wait_s
    assert ours.report.idle_per_busy <= 0.97 * theirs.report.idle_per_busy
    assert (ours.report.drain_s or 0) <= 0.8 * (theirs.report.drain_s or 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_where_a_start_takes_20_s_bursty_traffic_waits_less_at_less_waste_with_equal_windows(
    seed: int,
) -> None:
    load = Load(length_s=3600.0, work_s=4.0, busy=2.0)
    theirs, ours = _both(case("bursty", seed, load, start_s=20.0), window_s=60.0)
    assert ours.report.p99_wait_s <= 0.9 * theirs.report.p99_wait_s
    assert ours.report.idle_per_busy <= 0.8 * theirs.report.idle_per_busy


@pytest.mark.parametrize("seed", SEEDS)
def test_steady_traffic_is_where_kpa_wastes_less(seed: int) -> None:
    """It keeps what an average needs; Squall keeps what the last minute needed at most, and nearly nobody waits."""
    theirs, ours = _both(case("steady", seed), window_s=60.0)
    assert ours.report.p99_wait_s <= 0.25 * theirs.report.p99_wait_s
    assert theirs.report.idle_per_busy < ours.report.idle_per_busy <= 2.0 * theirs.report.idle_per_busy


def _both(one: Case, *, window_s: float) -> tuple[Row, Row]:
    """KPA with its defaults, and Squall with this window."""
    theirs, ours = play(one, "kpa"), play(one.with_window(window_s), "squall")
    assert theirs.report.inputs == ours.report.inputs
    told = [
        f"{row.policy}: p99 {row.report.p99_wait_s:.3f} s, idle {row.report.idle_per_busy:.2f}"
        for row in (ours, theirs)
    ]
    print(f"{one.kind}, seed {one.seed}, window {window_s:g} s: {'; '.join(told)}")
    return theirs, ours
