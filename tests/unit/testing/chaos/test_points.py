"""What a sweep of crash points runs, from counts that were made by hand."""

from __future__ import annotations

from itertools import combinations

from squall.faults.crash import armed_by
from squall.testing.chaos.points import AFTER, HOTTEST, part_of, planned

PASSED = {f"server/p.{number}": 1 + number for number in range(14)}


def test_each_point_has_a_run_and_each_pair_of_the_hottest_too() -> None:
    sweep = planned(PASSED, seed=1)
    singles = [setting for setting in sweep.armed if "," not in setting]
    assert {setting.partition(":")[0] for setting in singles} == set(PASSED)
    assert len(sweep.armed) == len(PASSED) + len(AFTER) + HOTTEST * (HOTTEST - 1) // 2
    hottest = sorted(PASSED, key=lambda name: -PASSED[name])[:HOTTEST]
    pairs = {frozenset(one.partition(":")[0] for one in setting.split(",")) for setting in sweep.armed}
    assert {frozenset(pair) for pair in combinations(hottest, 2)} <= pairs


def test_a_point_strikes_at_a_pass_that_a_run_has() -> None:
    for setting in planned(PASSED, seed=2).armed[: len(PASSED)]:
        armed = armed_by(setting, "server")
        assert armed is not None
        for name, number in armed.items():
            assert 1 <= number <= PASSED[f"server/{name}"]


def test_equal_seeds_give_equal_sweeps_and_a_part_begins_with_single_points() -> None:
    assert planned(PASSED, seed=3) == planned(PASSED, seed=3)
    part = part_of(planned(PASSED, seed=3), 5, seed=3)
    assert len(part.armed) == part.singles == 5
