"""What shares the cores of a machine: all of them work while there is enough to do, and nobody is favoured."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from squall.simulation.clock import Clock
from squall.simulation.sharing import Sharing

works = st.floats(0.001, 10.0)
pieces = st.lists(st.tuples(st.floats(0.0, 20.0), works), min_size=1, max_size=20)
some_cores = st.integers(1, 6)


@dataclass(frozen=True, slots=True)
class Done:
    """A piece of work that came at an instant, and when it was done."""

    came_s: float
    work_s: float
    done_s: float


def played(came: list[tuple[float, float]], cores: int) -> list[Done]:
    """What becomes of pieces (instant, work), in the order in which they are done."""
    clock, done = Clock(), list[Done]()
    sharing = Sharing(clock, cores)

    def begin(work_s: float) -> None:
        came_s = clock.now_s
        sharing.begin(work_s, lambda: done.append(Done(came_s, work_s, clock.now_s)))

    for instant_s, work_s in came:
        clock.at(instant_s, begin, work_s)
    while clock.step():
        pass
    return done


@given(came=pieces, cores=some_cores)
def test_everything_is_done_once_and_never_faster_than_alone(
    came: list[tuple[float, float]], cores: int
) -> None:
    done = played(came, cores)
    assert sorted((one.came_s, one.work_s) for one in done) == sorted(came)
    assert all(one.done_s - one.came_s >= one.work_s - 1e-9 for one in done)


@given(came=pieces, cores=some_cores)
def test_no_core_rests_while_there_is_work_for_it_and_none_does_more_than_it_can(
    came: list[tuple[float, float]], cores: int
) -> None:
    """Between two instants at which somebody comes or goes, so much is done as cores are busy."""
    done = played(came, cores)
    instants = sorted({0.0, *(one.came_s for one in done), *(one.done_s for one in done)})
    busy_s = 0.0
    for begins_s, ends_s in pairwise(instants):
        there = sum(one.came_s <= begins_s and one.done_s >= ends_s for one in done)
        busy_s += min(cores, there) * (ends_s - begins_s)
    assert busy_s == pytest.approx(sum(one.work_s for one in done), rel=1e-6)


@given(came=pieces, cores=some_cores, work_s=works)
def test_of_equal_pieces_none_overtakes_another(
    came: list[tuple[float, float]], cores: int, work_s: float
) -> None:
    done = played([(instant_s, work_s) for instant_s, _ in came], cores)
    assert [one.came_s for one in done] == sorted(one.came_s for one in done)


@given(works_s=st.lists(works, min_size=2, max_size=20), cores=some_cores)
def test_of_pieces_that_come_together_the_shorter_one_is_done_first(works_s: list[float], cores: int) -> None:
    done = played([(1.0, work_s) for work_s in works_s], cores)
    assert [one.work_s for one in done] == sorted(works_s)


@given(count=st.integers(1, 30), cores=some_cores, work_s=works)
def test_equal_pieces_that_come_together_are_done_together_once_the_cores_have_done_all(
    count: int, cores: int, work_s: float
) -> None:
    done = played([(0.0, work_s)] * count, cores)
    assert {one.done_s for one in done} == {done[0].done_s}
    assert done[0].done_s == pytest.approx(max(work_s, count * work_s / cores))


@given(came=pieces, cores=some_cores, one_more=st.tuples(st.floats(0.0, 20.0), works))
def test_nobody_is_done_sooner_because_another_one_comes(
    came: list[tuple[float, float]], cores: int, one_more: tuple[float, float]
) -> None:
    alone = sorted(one.done_s for one in played(came, cores))
    beside = played([*came, one_more], cores)
    beside.remove(next(one for one in beside if (one.came_s, one.work_s) == one_more))
    for without, with_it in zip(alone, sorted(one.done_s for one in beside), strict=True):
        assert with_it >= without - 1e-9


def test_who_is_cancelled_leaves_its_share_to_the_others() -> None:
    clock, done = Clock(), list[tuple[str, float]]()
    sharing = Sharing(clock, 1)
    sharing.begin(1.0, lambda: done.append(("stays", clock.now_s)))
    leaves = sharing.begin(1.0, lambda: done.append(("leaves", clock.now_s)))
    clock.at(1.0, leaves.cancel)
    while clock.step():
        pass
    assert done == [("stays", 1.5)]


def test_of_two_that_are_done_at_one_instant_the_first_may_cancel_the_second() -> None:
    clock, done = Clock(), list[str]()
    sharing = Sharing(clock, 1)
    sharing.begin(1.0, lambda: second.cancel())
    second = sharing.begin(1.0, done.append, "second")
    while clock.step():
        pass
    assert not done


def test_nothing_is_done_any_more_once_it_is_stopped_and_what_comes_later_has_the_cores_for_itself() -> None:
    clock, done = Clock(), list[tuple[str, float]]()
    sharing = Sharing(clock, 1)
    for _ in range(3):
        sharing.begin(1.0, done.append, ("before", 0.0))
    clock.at(0.5, sharing.stop)
    clock.at(2.0, lambda: sharing.begin(1.0, lambda: done.append(("after", clock.now_s))))
    while clock.step():
        pass
    assert done == [("after", 3.0)]
