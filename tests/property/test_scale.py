"""What scaling decides: by what arrives, what waits, how long inputs take and how long containers take to start."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, strategies as st

from squall.model.function import Scaling
from squall.model.ids import CallId, ContainerId
from squall.scheduling.arrivals import LEAST_S, MEMORY_S, Arrivals
from squall.scheduling.inputs import FunctionLine
from squall.scheduling.scale import (
    PLATFORM_MOST,
    RAMP_S,
    STARTING_A_CORE,
    STARTING_S,
    Demand,
    believed_mean_s,
    desired_containers,
    most_starting,
)
from squall.scheduling.starts import Starts

seconds = st.floats(0.001, 100.0)
WIDE = Scaling(max_containers=10**6)


# -- arrivals


@given(per_s=st.floats(2.0, 60.0), lasting_s=st.floats(3.0, 20.0))
def test_a_steady_rate_is_found(per_s: float, lasting_s: float) -> None:
    arrivals, now_s = Arrivals(), 100.0
    for number in range(int(per_s * lasting_s) + 1):
        now_s = 100.0 + number / per_s
        arrivals = arrivals.seen(inputs=1, now_s=now_s)
    assert arrivals.per_s(now_s) == pytest.approx(per_s, rel=0.2, abs=0.5)


@given(
    gaps=st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(0, 1000)), max_size=20),
    after_s=st.floats(0.0, 1000.0),
)
def test_a_rate_is_never_below_zero_never_above_what_came_and_fades(
    gaps: list[tuple[float, int]], after_s: float
) -> None:
    arrivals, now_s, total = Arrivals(), 0.0, 0
    for gap_s, inputs in gaps:
        now_s += gap_s
        total += inputs
        arrivals = arrivals.seen(inputs=inputs, now_s=now_s)
    at_once = arrivals.per_s(now_s)
    assert 0 <= at_once <= total / (MEMORY_S * 0.09)
    assert 0 <= arrivals.per_s(now_s + after_s) <= at_once
    assert arrivals.per_s(now_s + 100 * MEMORY_S) < 1e-6


@given(inputs=st.lists(st.integers(1, 1000), min_size=1, max_size=10))
def test_what_comes_at_one_instant_may_come_in_any_number_of_messages(inputs: list[int]) -> None:
    together = Arrivals().seen(inputs=sum(inputs), now_s=5.0)
    apart = Arrivals()
    for part in inputs:
        apart = apart.seen(inputs=part, now_s=5.0)
    assert apart.per_s(5.0 + LEAST_S) == pytest.approx(together.per_s(5.0 + LEAST_S))
    assert apart.seen(inputs=1, now_s=4.0).at_s == 5.0, "a clock that goes back is not believed"


def test_after_a_long_silence_the_rate_is_that_of_what_comes_now() -> None:
    old = Arrivals().seen(inputs=1000, now_s=0.0)
    assert old.seen(inputs=1, now_s=1000.0) == Arrivals().seen(inputs=1, now_s=1000.0)


@given(tries=st.lists(st.sampled_from(["retry", "requeue", "resubmit", "give back"]), max_size=30))
def test_what_is_tried_again_is_no_demand_beyond_what_was_submitted(tries: list[str]) -> None:
    line, call, box = FunctionLine(), CallId("fc-1"), ContainerId("co-1")
    line.submit(call, start=0, count=5, total=5)
    for kind in tries:
        if kind == "resubmit":
            assert line.submit(call, start=0, count=5, total=5) == 0, "counted as an arrival"
            continue
        lease = line.take(box, 1)
        assert lease is not None
        part = lease.segments[0]
        if kind == "retry":
            assert line.put_off(box, part)
            line.again(part)
        elif kind == "requeue":
            line.requeue(box, part)
        else:
            line.give_back(box, part)
        assert line.waiting + line.leased == 5


# -- starts


@given(took=seconds, cores=st.integers(1, 64), many=st.integers(1, 200))
def test_starts_that_share_cores_are_found_to_cost_what_one_alone_does(
    took: float, cores: int, many: int
) -> None:
    """They end one after another; the last has seen all others before it."""
    starts = Starts()
    for number in range(1, many + 1):
        wall_s = took * max(1.0, number / cores)
        starts = starts.seen(seconds=wall_s, beside=number, cores=cores)
    assert starts.core_s == pytest.approx(took)
    assert starts.wall_s is not None
    assert starts.wall_s >= took * 0.99


@given(took=st.floats(allow_nan=True, allow_infinity=True))
def test_what_is_no_duration_is_no_start(took: float) -> None:
    before = Starts(wall_s=1.0, core_s=1.0)
    after = before.seen(seconds=took, beside=1, cores=1)
    assert (after == before) == (not 0 <= took < float("inf") or took == 1.0)


@given(core_s=st.none() | st.floats(0.0, 1e6), cores=st.integers(0, 64))
def test_as_many_start_at_once_as_their_cores_carry_and_never_none(core_s: float | None, cores: int) -> None:
    most = most_starting(core_s, cores=cores)
    assert most >= max(1, cores) * STARTING_A_CORE
    if core_s is not None and most > max(1, cores) * STARTING_A_CORE:
        assert most * core_s <= max(1, cores) * STARTING_S * 1.001


# -- desired containers


@given(
    ready=st.integers(1, 20),
    mean_s=seconds,
    start_s=seconds,
    waiting=st.integers(1, 200),
    leased=st.integers(0, 20),
)
def test_nothing_starts_that_would_be_ready_when_the_line_is_empty(
    ready: int, mean_s: float, start_s: float, waiting: int, leased: int
) -> None:
    leased = min(leased, ready)
    demand = Demand(
        waiting=waiting, leased=leased, mean_s=mean_s, containers=ready, start_s=start_s, start_core_s=0.001
    )
    drained = waiting * mean_s + leased * mean_s / 2 <= ready * start_s
    wanted = desired_containers(demand, WIDE, cores=64)
    if drained:
        assert wanted <= ready
    elif waiting * mean_s - max(0.0, ready * start_s - leased * mean_s / 2) > 0.001 and ready == leased:
        assert wanted > ready, "all are busy, the line outlasts a start, and none is started"


@given(
    per_s=st.floats(0.1, 1000.0),
    mean_s=st.floats(0.001, 10.0),
    target=st.integers(1, 16),
    ready=st.integers(0, 50),
)
def test_there_are_at_least_as_many_as_littles_law_says(
    per_s: float, mean_s: float, target: int, ready: int
) -> None:
    in_work = ceil(per_s * mean_s / target)
    demand = Demand(
        waiting=in_work * target,
        mean_s=mean_s,
        arrivals_per_s=per_s,
        slots=16,
        target_inputs=target,
        containers=ready,
        start_s=10.0,
        start_core_s=0.0001,
    )
    assert desired_containers(demand, WIDE, cores=4) >= min(in_work, ready + 4 * 2500)


@given(
    in_hand=st.integers(1, 1000),
    slots=st.integers(1, 32),
    target=st.none() | st.integers(1, 64),
    mean_s=seconds,
)
def test_a_container_is_meant_to_have_its_target_in_hand_and_never_more_than_its_slots(
    in_hand: int, slots: int, target: int | None, mean_s: float
) -> None:
    demand = Demand(waiting=in_hand, slots=slots, target_inputs=target, oldest_wait_s=100.0)
    aim = slots if target is None else min(slots, target)
    assert demand.aim == aim
    for known in (None, mean_s):
        wanted = desired_containers(replace(demand, mean_s=known, start_core_s=1e-4), WIDE, cores=4)
        assert 1 <= wanted <= ceil(in_hand / aim)


@given(mean_s=st.floats(0.0, 10.0), quiet_s=st.floats(0.0, 1000.0))
def test_an_old_figure_is_believed_until_all_have_been_silent_for_much_longer(
    mean_s: float, quiet_s: float
) -> None:
    believed = believed_mean_s(Demand(mean_s=mean_s, quiet_s=quiet_s))
    assert believed == (mean_s if quiet_s <= 2 * mean_s + RAMP_S else quiet_s)
    assert believed_mean_s(Demand(quiet_s=quiet_s)) is None


def run_up(*, start_core_s: float, mean_s: float | None, inputs: int, cores: int) -> float:
    """Seconds until so many long inputs have a container each; starts share the cores, and look every 10 ms."""
    starts, now_s, quiet_s = Starts(), 0.0, 0.0
    starting: list[list[float]] = []  # work left, began, beside
    ready = 0
    while ready < inputs:
        demand = Demand(
            waiting=inputs - ready,
            leased=ready,
            mean_s=mean_s,
            oldest_wait_s=now_s,
            containers=ready + len(starting),
            starting=len(starting),
            quiet_s=quiet_s,
            start_s=starts.wall_s,
            start_core_s=starts.core_s,
        )
        missing = desired_containers(demand, WIDE, cores=cores) - demand.containers
        starting += [[start_core_s, now_s, len(starting) + number + 1.0] for number in range(missing)]
        work = 0.010 * cores
        quiet_s = quiet_s + 0.010 if ready else 0.0
        while work > 0 and starting:
            share = min(work, starting[0][0])
            starting[0][0] -= share
            work -= share
            if starting[0][0] <= 0:
                _, began_s, beside = starting.pop(0)
                starts = starts.seen(seconds=now_s + 0.010 - began_s, beside=int(beside), cores=cores)
                ready += 1
        now_s += 0.010
        assert now_s < 60, "it never gets there"
    return now_s


@pytest.mark.parametrize("mean_s", [None, 0.0001, 2.0])
def test_a_hundred_long_inputs_have_a_hundred_containers_within_two_seconds(mean_s: float | None) -> None:
    """Whatever is known of earlier inputs; with starts from a template, which take some milliseconds."""
    assert run_up(start_core_s=0.010, mean_s=mean_s, inputs=PLATFORM_MOST, cores=2) < 2.0
    assert run_up(start_core_s=0.005, mean_s=mean_s, inputs=PLATFORM_MOST, cores=2) < 1.0


def test_slow_starts_do_not_crowd_the_cores() -> None:
    demand = Demand(waiting=100, oldest_wait_s=10.0, start_s=1.0, start_core_s=1.0)
    assert desired_containers(demand, Scaling(), cores=2) == 2 * STARTING_A_CORE
