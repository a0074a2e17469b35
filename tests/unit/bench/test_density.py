import pytest
from hypothesis import given, strategies as st

import density
import leak_count
from density import Memory, Room, memory_in, metric, obstacles
from measure import Bar
from scene import KINDS

ROLLUP = """55a0-7ffd ---p 00000000 00:00 0                          [rollup]
Rss:               13472 kB
Pss:                1000 kB
Pss_Dirty:           500 kB
Shared_Clean:       8000 kB
Shared_Dirty:       3000 kB
Private_Clean:       100 kB
Private_Dirty:       200 kB
Swap:                  0 kB
Locked:                0 kB
"""
PLENTY = Room(processes=10**6, descriptors=10**6, memory=10**12)


def test_private_memory_is_what_is_private_be_it_clean_or_dirty() -> None:
    assert memory_in(ROLLUP) == Memory(private=300 * 1024, proportional=1000 * 1024)


def test_a_process_that_has_ended_keeps_nothing() -> None:
    assert density.memory_of([]) == Memory(private=0, proportional=0)
    assert density.memory_of([2**22 + 1]).private == 0


def test_this_machine_says_what_is_available() -> None:
    room = density.room_now()
    assert room.processes > 0
    assert room.memory > 0


def test_what_stands_in_the_way_is_named_with_what_is_needed() -> None:
    assert obstacles(1000, PLENTY) == []
    (one,) = obstacles(1000, Room(processes=100, descriptors=10**6, memory=10**12))
    assert "1000 containers need 3000 processes" in one
    assert "there are 100" in one
    assert len(obstacles(1000, Room(processes=1, descriptors=1, memory=1))) == 3


def test_the_figures_of_a_bare_interpreter_have_the_plain_name() -> None:
    assert metric("private_mb", "bare") == "private_mb"
    assert metric("private_mb", "torch") == "private_mb_torch"
    assert len(density.UNITS) == len(KINDS) * 6


@pytest.mark.parametrize("bar", [*density.BARS, *density.AIMS])
def test_every_bar_and_aim_speaks_of_a_metric_and_a_contender_that_exist(bar: Bar) -> None:
    assert bar.metric in density.UNITS
    assert bar.who in density.CONTENDERS


def test_descendants_are_all_that_is_below_but_not_those_asked_about() -> None:
    parents = {1: 0, 2: 1, 3: 2, 4: 2, 5: 1, 6: 5}
    assert leak_count.descendants([2], parents) == {3, 4}
    assert leak_count.descendants([1], parents) == {2, 3, 4, 5, 6}
    assert leak_count.descendants([3, 99], parents) == set()


@given(st.dictionaries(st.integers(1, 50), st.integers(0, 50), max_size=50), st.integers(1, 50))
def test_descendants_are_found_also_where_pids_were_given_anew_meanwhile(
    parents: dict[int, int], root: int
) -> None:
    below = leak_count.descendants([root], parents)
    assert below <= set(parents)
    assert all(parents[pid] in below | {root} for pid in below)


def test_the_parent_is_read_also_where_a_name_holds_spaces_and_brackets() -> None:
    assert leak_count.parent_in("42 (a) b (c) S 7 42 42 0 -1") == 7


def test_only_what_there_is_more_of_is_left_behind() -> None:
    before = {"processes": 3, "mounts": 2, "cgroups": 1}
    assert leak_count.more_than(before, {"processes": 5, "mounts": 1, "cgroups": 1}) == {"processes": 2}
    assert leak_count.more_than(before, before) == {}
