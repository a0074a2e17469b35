"""Several inputs at once in one container: in threads and tasks, each with its own context, time, outcome and end."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from squall.model.errors import ContainerExited, FunctionTimeout, InputCancelled
from tests.end_to_end.conftest import PROGRAMS, House, eventually

pytestmark = pytest.mark.needs("linux", "namespaces")


@pytest.fixture(scope="module")
def together(at_home: House) -> Iterator[Any]:
    """The module of the app, while it runs."""
    module = importlib.import_module("together_app")
    with module.app.run():
        yield module


@pytest.mark.parametrize(("name", "in_main"), [("meets", False), ("meets_async", True)])
def test_inputs_that_wait_for_each_other_come_to_their_end_in_one_container_each_with_its_own_id(
    together: Any, name: str, in_main: bool
) -> None:
    met = list(getattr(together, name).map(range(together.SIDE)))
    assert [number for _me, number, _id, _main in met] == list(range(together.SIDE))
    assert len({me for me, *_ in met}) == 1
    assert len({one for _me, _number, one, _main in met}) == together.SIDE
    assert {main for *_, main in met} == {in_main}


def test_a_container_never_has_more_than_its_most(together: Any) -> None:
    seen = list(together.counts.map([0.02] * 40))
    assert max(seen) == 3


@pytest.mark.parametrize(("name", "raised"), [("waits", "InputCancelled"), ("waits_async", "CancelledError")])
def test_cancelling_one_interrupts_it_alone(together: Any, name: str, raised: str) -> None:
    function = getattr(together, name)
    stays, goes = function.spawn("stays", 1.5), function.spawn("goes", 60.0)
    eventually(lambda: "goes began" in function.remote("notes", 0.0))
    goes.cancel()
    with pytest.raises(InputCancelled):
        goes.get()
    assert eventually(lambda: f"goes {raised}" in function.remote("notes", 0.0), within_s=5)
    assert stays.get().startswith("stays ")
    assert f"stays {raised}" not in function.remote("notes", 0.0)


@pytest.mark.parametrize("name", ["waits", "waits_async"])
def test_the_time_of_one_is_up_for_it_alone(together: Any, name: str) -> None:
    one, two, three = getattr(together, name).starmap(
        [("one", 0.1), ("two", 60.0), ("three", 1.2)], return_exceptions=True
    )
    assert isinstance(two, FunctionTimeout)
    assert one.split()[1] == three.split()[1], "nobody else was ended for it"
    assert getattr(together, name).remote("later", 0.0).split()[1] == one.split()[1]


def test_one_that_does_not_give_way_takes_its_container_along_and_the_others_run_again(together: Any) -> None:
    stuck, fine = together.sleeps.map([60.0, 0.8], return_exceptions=True)
    assert isinstance(stuck, FunctionTimeout)
    assert fine == 0.8


def test_one_that_ends_the_container_is_found_and_costs_no_other(together: Any) -> None:
    got = list(together.dies.map(range(6), return_exceptions=True))
    assert isinstance(got[3], ContainerExited)
    assert [value for value in got if isinstance(value, int)] == [0, 1, 2, 4, 5]


def test_each_has_its_own_outcome_with_the_lines_that_ran(together: Any) -> None:
    got = list(together.fails.map(range(together.SIDE), return_exceptions=True))
    assert [one if isinstance(one, int) else str(one) for one in got] == [
        number if number % 2 == 0 else f"{number} is odd" for number in range(together.SIDE)
    ]


@pytest.mark.parametrize("name", ["items", "items_async"])
def test_generators_yield_side_by_side_however_far_ahead_one_consumer_is(together: Any, name: str) -> None:
    function = getattr(together, name)
    slow = function.remote_gen(300)
    first = next(slow)
    quick = list(function.remote_gen(300))
    assert [number for _me, number in quick] == list(range(300))
    assert {me for me, _number in quick} == {first[0]}
    assert [number for _me, number in slow] == list(range(1, 300))


def test_a_consumer_that_lets_go_ends_its_generator_and_no_other(together: Any) -> None:
    left, kept = together.items.remote_gen(100_000), together.items.remote_gen(200)
    next(left)
    next(kept)
    left.close()
    assert [number for _me, number in kept] == list(range(1, 200))
    assert len(list(together.items.remote_gen(3))) == 3


def test_large_arguments_of_several_do_not_get_mixed_up(together: Any) -> None:
    sizes = [3 * 2**20 + number for number in range(together.SIDE)]
    for _ in range(2):
        got = list(together.measures.map(bytes([number]) * size for number, size in enumerate(sizes)))
        assert got == [(size, number) for number, size in enumerate(sizes)]


def test_containers_come_for_the_target_and_not_for_the_most(together: Any) -> None:
    call = together.spreads.spawn_map([3.0] * 8)
    eventually(lambda: len(containers("spreads")) >= 3)
    assert len(set(call.iter())) <= 4


def test_methods_of_one_object_run_side_by_side_async_ones_on_the_loop_of_its_hooks(together: Any) -> None:
    room = together.Room()
    waiting = [room.waits.spawn() for _ in range(2)]
    assert room.opens.remote("a thread") != "MainThread"
    assert [one.get() for one in waiting] == ["opened by a thread"] * 2
    assert list(room.counts.remote_gen(200)) == list(range(200))


def test_what_they_print_arrives_in_whole_lines(at_home: House) -> None:
    done = at_home.run("-m", "squall", "run", str(PROGRAMS / "together_app.py"))
    assert done.returncode == 0, done.stderr
    said = Counter(re.findall(r"(\d) says (\d+)\.$", done.stdout, re.MULTILINE))
    assert said == {(str(number), str(number * 1111)): 20 for number in range(8)}


def test_stopping_a_container_interrupts_all_that_it_works_on(together: Any, at_home: House) -> None:
    calls = [together.ends.spawn(30.0) for _ in range(2)]
    (row,) = eventually(lambda: [row for row in containers("ends") if row["state"] == "busy"])
    eventually(lambda: logs(at_home, row["id"]).count("begins") == 2)
    squall_command("container", "stop", row["id"])
    assert eventually(lambda: logs(at_home, row["id"]).count("ends in finally") == 2)
    for call in calls:
        call.cancel()


def logs(house: House, container: str) -> str:
    return house.run("-m", "squall", "logs", "--container", container).stdout


def containers(function: str) -> list[dict[str, Any]]:
    rows = json.loads(squall_command("container", "list", "--json"))
    return [row for row in rows if row["function"] == function]


def squall_command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "squall", *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
