"""The report's words, its verdict, and how long it took until outcomes came again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from squall.testing.chaos.report import Hit, Report, quantile, recoveries, slowest, together

WELL = Report(faults={"F07": 3, "F10": 2}, accepted=400, again=7, killed=5, recoveries_s=(0.5, 1.5))


def test_the_line_says_every_number() -> None:
    assert WELL.lines()[0] == (
        "5 faults injected (2 kinds), 400 accepted, 0 lost, 0 duplicated results, 7 duplicate executions (allowed), "
        "0 stuck, recovery p50/p99 0.50/1.50 s, 0 leaked (procs, cgroups, mounts, netns, fds, tmp)"
    )


def test_what_was_killed_disturbed_and_simulated_is_told_apart() -> None:
    words = replace(WELL, points=2, frames=9, simulated=12).lines()[1]
    assert words == (
        "5 processes killed and crash points really hit (2 of them crash points); 9 frames disturbed; "
        "12 simulated faults"
    )


@pytest.mark.parametrize(
    "worse",
    [
        {"lost": 1},
        {"doubled": 1},
        {"stuck": 1},
        {"broken": ("x",)},
        {"left": {"procs": ("12 squall-init",)}},
    ],
)
def test_each_thing_that_must_not_be_breaks_the_verdict(worse: dict[str, object]) -> None:
    assert WELL.holds
    assert not replace(WELL, **worse).holds  # type: ignore[arg-type]  # one field each


def test_what_is_left_is_counted_and_named() -> None:
    lines = replace(WELL, left={"procs": ("12 squall-init",), "tmp": ()}).lines()
    assert lines[0].endswith("1 leaked (1 procs, cgroups, mounts, netns, fds, tmp)")
    assert "left: procs: 12 squall-init" in lines


def test_reports_add_up() -> None:
    both = together([WELL, replace(WELL, faults={"F10": 1, "F21": 1}, left={"tmp": ("/x",)})])
    assert both.faults == {"F07": 3, "F10": 3, "F21": 1}
    assert (both.accepted, both.killed, both.again) == (800, 10, 14)
    assert both.recoveries_s == (0.5, 1.5, 0.5, 1.5)
    assert not both.holds


def test_a_recovery_is_the_silence_that_the_fault_began() -> None:
    times = [0.0, 1.0, 1.1, 3.1, 3.2, 9.0]
    assert recoveries([1.0], times) == pytest.approx((2.0,))
    assert recoveries([0.5], times) == pytest.approx((0.5,))
    assert recoveries([2.0], times) == pytest.approx((1.1,))
    assert not recoveries([9.5], times)


def test_the_slowest_recoveries_are_told_with_their_faults() -> None:
    times = [0.0, 1.0, 1.1, 3.1, 3.2, 9.0]
    hits = [Hit(kind=kind, what="", at_s=at_s) for kind, at_s in (("F07", 1.0), ("F10", 3.0), ("F17", 0.0))]
    hits.append(Hit(kind="F32", what="", at_s=4.0, breaks=False))
    assert slowest(hits, times, most=2) == "5.80 s from F10, 2.00 s from F07"
    assert slowest([], times) == "none needed"


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([], 0.99) == 0.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(list(map(float, range(1, 101))), 0.99) == 99.0
