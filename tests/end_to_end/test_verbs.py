"""Every blocking verb, on containers: what it gives, in which order, and what it raises."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from squall.model.errors import ExecutionError, InvalidError


def test_one_call_gives_its_value_and_runs_elsewhere(verbs: Any) -> None:
    assert verbs.double.remote(3, plus=1) == 7
    assert verbs.double.local(3) == verbs.double(3) == 6
    assert verbs.slow_double.remote(4) == 8


def test_what_a_function_raised_is_raised_here(verbs: Any) -> None:
    with pytest.raises(ValueError, match="no 2"):
        verbs.picky.remote(2)


def test_a_map_keeps_the_order_of_its_inputs(verbs: Any) -> None:
    assert list(verbs.double.map(range(200))) == [2 * number for number in range(200)]
    assert list(verbs.slow_double.map(range(50))) == [2 * number for number in range(50)]


def test_a_map_without_order_gives_the_same_values(verbs: Any) -> None:
    assert sorted(verbs.double.map(range(200), order_outputs=False)) == [2 * n for n in range(200)]


def test_several_iterables_are_arguments_side_by_side(verbs: Any) -> None:
    assert list(verbs.add.map([1, 2, 3], (n for n in [10, 20]), kwargs={"by": 2})) == [22, 44]


def test_nothing_to_map_gives_nothing(verbs: Any) -> None:
    assert list(verbs.double.map([])) == list(verbs.double.map()) == list(verbs.add.starmap([])) == []
    assert verbs.double.for_each([]) is None


def test_starmap_spreads_each_input(verbs: Any) -> None:
    assert list(verbs.add.starmap([(1, 2), [3, 4]], kwargs={"by": 10})) == [30, 70]
    with pytest.raises(TypeError, match="one iterable"):
        verbs.add.starmap([1], [2])


def test_the_first_exception_ends_a_map_and_exceptions_can_be_values(verbs: Any) -> None:
    got = verbs.picky.map(range(9))
    assert [next(got), next(got)] == [0, 1]
    with pytest.raises(ValueError, match="no 2"):
        next(got)
    kept = list(verbs.picky.map(range(6), return_exceptions=True))
    assert [str(value) for value in kept] == ["0", "1", "no 2", "3", "4", "no 5"]


def test_for_each_gives_nothing_but_the_first_exception(verbs: Any) -> None:
    assert verbs.double.for_each(range(5), kwargs={"plus": 1}) is None
    assert verbs.picky.for_each(range(5), ignore_exceptions=True) is None
    with pytest.raises(ValueError, match="no 2"):
        verbs.picky.for_each(range(5))


def test_an_endless_input_is_taken_as_far_as_its_consumer_may_want(verbs: Any) -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    got = verbs.double.map(numbers())
    assert taken == [], "nothing happens before somebody wants a value"
    assert [next(got) for _ in range(5)] == [0, 2, 4, 6, 8]
    got.close()
    assert len(taken) < 20_000


def test_what_the_input_raises_is_raised(verbs: Any) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(verbs.double.map(numbers()))


def test_leaving_a_map_cancels_the_rest(verbs: Any) -> None:
    began = time.monotonic()
    for _ in verbs.nap.map([0.0, 0.0, *[30.0] * 20]):
        break
    assert verbs.nap.remote(0.0) == 0.0
    assert list(verbs.nap.map([0.0] * 8)) == [0.0] * 8
    assert time.monotonic() - began < 15


def test_a_generator_gives_its_items_before_it_ends(verbs: Any) -> None:
    assert list(verbs.count.remote_gen(200)) == list(range(200))
    assert list(verbs.count.remote(3)) == [0, 1, 2]
    assert list(verbs.count_async.remote_gen(5)) == [0, 1, 2, 3, 4]
    assert [len(item) for item in verbs.echoes.remote_gen()] == [3, 1, 3_000_000]
    got = verbs.endless.remote_gen("before")
    assert next(got) == 0
    got.close()


def test_what_a_generator_raised_comes_after_its_items(verbs: Any) -> None:
    got = verbs.count.remote_gen(2, raises=True)
    assert [next(got), next(got)] == [0, 1]
    with pytest.raises(ValueError, match="only 2"):
        next(got)


def test_a_generator_that_nobody_reads_stops_and_one_that_is_left_is_closed(verbs: Any) -> None:
    left = verbs.endless_async.remote_gen("left")
    assert [next(left) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.3)
    left.close()
    until_s = time.monotonic() + 10
    while True:
        looking = verbs.endless_async.remote_gen("look:")
        marks = next(looking)
        looking.close()
        if "left closed" in marks:
            break
        assert time.monotonic() < until_s
    assert marks["left"] <= 70, "it went on although nobody read"


def test_a_generator_function_gives_no_single_value(verbs: Any) -> None:
    for verb in (verbs.count.map, verbs.count.starmap, verbs.count.spawn, verbs.count.spawn_map):
        with pytest.raises(InvalidError, match="generator") as caught:
            verb([1])
        assert "remote_gen" in caught.value.remedy
    with pytest.raises(InvalidError, match="no generator function"):
        verbs.double.remote_gen(1)


def test_several_threads_call_at_once(verbs: Any) -> None:
    got: list[int] = []
    threads = [threading.Thread(target=lambda n=n: got.append(verbs.double.remote(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [2 * number for number in range(8)]


def test_blocking_verbs_work_where_an_event_loop_runs(verbs: Any) -> None:
    async def within() -> list[int]:
        return [verbs.double.remote(1), *verbs.double.map([1, 2]), verbs.double.spawn(3).get()]

    assert asyncio.run(within()) == [2, 2, 4, 6]


def test_a_function_can_be_an_argument(verbs: Any) -> None:
    (args, _kwargs) = verbs.shape.remote(verbs.double)
    assert args[0] is verbs.double


def test_an_app_that_does_not_run_says_so(at_home: Any) -> None:
    import squall

    app = squall.App("never")

    @app.function()
    def lonely() -> None: ...

    with pytest.raises(ExecutionError, match="does not run"):
        lonely.remote()
