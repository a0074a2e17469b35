"""Knative's published rules and defaults, each as the re-implementation keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from squall.simulation.compare import Case, play
from squall.simulation.kpa import Concurrency, KpaSettings, Observed, Panic, decide
from squall.simulation.nodes import Starts
from squall.simulation.report import Report
from squall.simulation.traffic import Arrival

USUAL = KpaSettings()
CALM = Panic()
HUNDRED = KpaSettings(concurrency=0)


def steady(load: float, *, ready: int, panic: float | None = None) -> Observed:
    return Observed(stable=load, panic=load if panic is None else panic, ready=ready)


def test_the_defaults_are_those_of_config_autoscaler() -> None:
    assert USUAL.stable_s == 60.0
    assert USUAL.panic_share == 0.10
    assert USUAL.panic_s == 6.0
    assert USUAL.panic_threshold == 2.0
    assert USUAL.utilization == 0.70
    assert USUAL.default_target == 100.0
    assert USUAL.tick_s == 2.0
    assert USUAL.max_up == 1000.0
    assert USUAL.max_down == 2.0
    assert USUAL.grace_s == 30.0
    assert USUAL.retention_s == 0.0


def test_the_target_is_70_percent_of_what_a_container_takes_and_of_100_where_it_takes_any_number() -> None:
    assert KpaSettings(concurrency=10).target == pytest.approx(7.0)
    assert USUAL.target == pytest.approx(0.7)
    assert HUNDRED.target == pytest.approx(70.0)


def test_stable_mode_wants_the_average_of_the_window_over_the_target_rounded_up() -> None:
    assert decide(steady(70.0, ready=1), CALM, 100.0, HUNDRED)[0] == 1
    assert decide(steady(71.0, ready=1), CALM, 100.0, HUNDRED)[0] == 2
    assert decide(steady(0.0, ready=1), CALM, 100.0, HUNDRED)[0] == 0


def test_panic_begins_when_the_panic_window_wants_twice_what_is_ready() -> None:
    wanted, panic = decide(steady(100.0, ready=3, panic=350.0), CALM, 100.0, HUNDRED)
    assert (wanted, panic) == (2, CALM), "5 of 3 are less than twice as many"
    wanted, panic = decide(steady(100.0, ready=3, panic=420.0), CALM, 100.0, HUNDRED)
    assert (wanted, panic.since_s) == (6, 100.0)


def test_nothing_goes_down_while_in_panic() -> None:
    _, panic = decide(steady(100.0, ready=3, panic=700.0), CALM, 100.0, HUNDRED)
    wanted, panic = decide(steady(70.0, ready=10), panic, 130.0, HUNDRED)
    assert wanted == 10
    assert panic.since_s == 100.0


def test_panic_ends_after_a_stable_window_below_the_threshold_and_lasts_longer_where_it_is_met_again() -> (
    None
):
    _, panic = decide(steady(100.0, ready=3, panic=700.0), CALM, 100.0, HUNDRED)
    _, panic = decide(steady(100.0, ready=3, panic=700.0), panic, 110.0, HUNDRED)
    assert panic.since_s == 110.0
    _, panic = decide(steady(70.0, ready=10), panic, 170.0, HUNDRED)
    assert panic.since_s == 110.0, "not after exactly a window"
    wanted, panic = decide(steady(70.0, ready=10), panic, 170.1, HUNDRED)
    assert panic == CALM
    assert wanted == 5, "and then no faster than by half"


def test_up_goes_a_thousandfold_and_down_by_half_in_one_tick() -> None:
    assert decide(steady(1e9, ready=2), CALM, 0.0, USUAL)[0] == 2000
    assert decide(steady(0.0, ready=9), CALM, 0.0, USUAL)[0] == 4
    assert decide(steady(0.0, ready=1), CALM, 0.0, USUAL)[0] == 0
    assert decide(steady(0.0, ready=0), CALM, 0.0, USUAL)[0] == 0


@given(stable=st.floats(0, 1e4), panic=st.floats(0, 1e4), ready=st.integers(0, 500))
def test_a_decision_keeps_to_both_rates_and_panic_never_wants_less_than_stable(
    stable: float, panic: float, ready: int
) -> None:
    wanted, state = decide(Observed(stable=stable, panic=panic, ready=ready), CALM, 5.0, USUAL)
    assert max(1, ready) // 2 <= wanted <= 1000 * max(1, ready)
    if state.since_s is not None:
        calm = decide(Observed(stable=stable, panic=0.0, ready=ready), CALM, 5.0, USUAL)[0]
        assert wanted >= calm


def test_a_window_is_averaged_over_its_whole_seconds() -> None:
    seen = Concurrency()
    seen.note(4, 0.0)
    seen.heard(0.0, stable_s=60.0)
    seen.note(0, 10.5)
    assert seen.average(6.0, 10.9) == pytest.approx(4.0)
    assert seen.average(6.0, 20.0) == pytest.approx(0.0)
    assert seen.average(60.0, 20.0) == pytest.approx(4 * 10.5 / 20), "since the first report, no longer"
    seen.heard(100.0, stable_s=60.0)
    assert seen.first == 100, "after a silent window, it begins anew"


def of(arrivals: list[Arrival], *, start_s: float = 0.5, window_s: float = 60.0) -> Report:
    case = Case(kind="made", arrivals=tuple(arrivals), starts=Starts(pooled_s=start_s, on_demand_s=start_s))
    return play(case.with_window(window_s), "kpa").report


def test_the_first_request_at_zero_is_acted_on_at_once_and_counts_as_one() -> None:
    told = of([Arrival(at_s=1.1, work_s=(0.1,))])
    assert told.starts == 2, "one request at once, at 70 % of one"
    assert told.longest_wait_s == pytest.approx(0.5, abs=0.01), "no tick was waited for"


def test_the_rest_of_a_burst_at_zero_waits_for_a_tick() -> None:
    told = of([Arrival(at_s=0.1, work_s=(5.0,) * 20)], start_s=0.1)
    assert 1.9 <= told.p99_wait_s <= 4.1


def test_the_last_containers_stay_for_a_stable_window_without_traffic() -> None:
    told = of([Arrival(at_s=1.1, work_s=(0.1,))])
    assert 2 * 60 <= told.container_s <= 2 * 63 + 30, (
        "until the window holds no request; one of them goes first"
    )
    assert of([Arrival(at_s=1.1, work_s=(0.1,))], window_s=6.0).container_s < 2 * 10


def test_how_long_the_last_one_waits_for_the_network_is_bounded_by_the_grace() -> None:
    assert USUAL.last_goes_after_s == 0.0
    assert KpaSettings(network_s=12.0).last_goes_after_s == 12.0
    assert KpaSettings(network_s=90.0).last_goes_after_s == 30.0
    assert KpaSettings(retention_s=45.0).last_goes_after_s == 45.0
