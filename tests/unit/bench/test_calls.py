import pytest

import calls
import work
from commands import edited


def test_the_skewed_inputs_are_the_same_in_each_run_and_have_a_heavy_tail() -> None:
    naps = calls.skewed_naps()
    assert naps == calls.skewed_naps()
    assert len(naps) == 200
    assert min(naps) >= 0.002
    assert max(naps) <= 0.25
    assert sum(sorted(naps)[-20:]) > sum(naps) / 2


def test_the_ideal_makespan_is_half_the_work_but_never_less_than_the_longest_input() -> None:
    assert calls.ideal_s([1.0, 1.0, 1.0, 1.0]) == 2.0
    assert calls.ideal_s([5.0, 1.0]) == 5.0


def test_every_bar_and_aim_speaks_of_a_metric_and_a_contender_that_exist() -> None:
    for bar in (*calls.BARS, *calls.AIMS):
        assert bar.metric in calls.UNITS
        assert bar.who in calls.CONTENDERS
        assert not bar.theirs or bar.theirs in calls.CONTENDERS


def test_only_a_contender_that_needs_an_absent_package_is_skipped() -> None:
    nothing: set[str] = set()
    assert calls.missing_package("ray_task", nothing.__contains__) == "ray"
    assert calls.missing_package("squall", nothing.__contains__) == "squall"
    assert not calls.missing_package("process_pool", nothing.__contains__)
    assert not calls.missing_package("ray_actor_chunked", {"ray"}.__contains__)


def test_an_edit_changes_the_greeting_only_where_there_is_one() -> None:
    assert "Hello token" in edited('print("Hello from here")', "token")
    with pytest.raises(ValueError, match="no greeting"):
        edited("print(1)", "token")


def test_weighing_reads_one_byte_of_every_page() -> None:
    assert work.weigh(bytes([3]) * 10_000) == 9
    assert work.weigh(bytes(4096) + b"\x05") == 5


def test_a_tag_names_its_process_and_keeps_the_value() -> None:
    assert work.tag(4) == (4, work.worker())
    assert work.tag_all([1, 2]) == [(1, work.worker()), (2, work.worker())]
