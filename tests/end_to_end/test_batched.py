"""Calls that are joined: each gives and gets one, and the function has lists."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from squall.model.errors import ContainerExited, FunctionTimeout, InvalidError, ResultNotSerializable
from tests.end_to_end.conftest import House, eventually

pytestmark = pytest.mark.needs("linux", "namespaces")


@pytest.fixture(scope="module")
def batched(at_home: House) -> Iterator[Any]:
    """The module of the app, while it runs."""
    module = importlib.import_module("batched_app")
    with module.app.run():
        yield module


def test_inputs_of_a_map_and_of_several_calls_are_joined_up_to_the_most(batched: Any) -> None:
    got = list(batched.squares.starmap([(number, 1) for number in range(10)]))
    assert [value for value, _together in got] == [number**2 + 1 for number in range(10)]
    assert Counter(together for _value, together in got) == {4: 8, 2: 2}
    calls = [batched.squares.spawn(number, plus=0) for number in range(4)]
    assert [call.get() for call in calls] == [(number**2, 4) for number in range(4)]


def test_one_alone_is_called_when_it_has_waited(batched: Any) -> None:
    assert batched.squares.remote(3, plus=1) == (10, 1)
    assert batched.squares.remote(number := 4, number) == (20, 1)


def test_async_functions_are_joined_too_and_awaited(batched: Any) -> None:
    async def together() -> list[Any]:
        return await asyncio.gather(*(batched.squares_async.remote.aio(number) for number in range(8)))

    assert asyncio.run(together()) == [(number**2, 8) for number in range(8)]
    assert asyncio.run(batched.squares_async.local(3)) == (9, 1)


def test_a_local_call_gives_and_gets_one(batched: Any) -> None:
    assert batched.squares.local(3, plus=1) == batched.squares(3, 1) == (10, 1)
    assert batched.Model(factor=4).scale.local(2) == (8, 1)


def test_the_method_of_a_class_is_joined_in_each_set_of_its_parameters(batched: Any) -> None:
    assert list(batched.Model().scale.map(range(10))) == [(2 * n, 1 + n // 5) for n in range(10)]
    assert list(batched.Model(factor=3).scale.map(range(5))) == [(3 * n, 1) for n in range(5)]


@pytest.mark.parametrize(
    ("numbers", "error", "said"),
    [
        ([0, 9, 9], InvalidError, "gave 1 values for a batch of 3"),
        ([1, 9, 9], InvalidError, "it gives a list, and it gave a str"),
        ([2, 9, 9], ValueError, "cannot do [2, 9, 9]"),
    ],
)
def test_what_goes_wrong_with_a_batch_goes_wrong_for_each_of_it(
    batched: Any, numbers: list[int], error: type[Exception], said: str
) -> None:
    got = list(batched.odd.map(numbers, return_exceptions=True))
    assert [type(one) for one in got] == [error] * 3
    assert all(said in str(one) for one in got)


def test_a_value_that_cannot_travel_and_arguments_that_do_not_fit_are_that_inputs_own(batched: Any) -> None:
    fine, wrong, other = batched.odd.map([3, 4, 5], return_exceptions=True)
    assert (fine, other) == (3, 5)
    assert isinstance(wrong, ResultNotSerializable)
    good, bad = batched.optional.spawn(1), batched.optional.spawn(1, 2, 3)
    assert good.get() == (10, 1)
    with pytest.raises(TypeError, match="too many positional arguments"):
        bad.get()


def test_those_that_give_other_parameters_are_called_by_themselves(batched: Any) -> None:
    calls = [batched.optional.spawn(1), batched.optional.spawn(2, by=3), batched.optional.spawn(3)]
    assert [call.get() for call in calls] == [(10, 2), (6, 1), (30, 2)]


def test_the_time_of_a_batch_is_up_for_all_of_it_and_its_container_goes_on(batched: Any) -> None:
    got = list(batched.slow.map([60.0, 0.1], return_exceptions=True))
    assert [type(one) for one in got] == [FunctionTimeout, FunctionTimeout]
    assert batched.slow.remote(0.0) == 0.0


def test_a_batch_goes_on_while_somebody_wants_some_of_it_and_ends_when_nobody_does(batched: Any) -> None:
    stays, goes = batched.waits.spawn("stays"), batched.waits.spawn("goes")
    goes.cancel()
    assert stays.get() == "stays"
    assert "InputCancelled" not in batched.waits.remote("notes")
    both = [batched.waits.spawn("one"), batched.waits.spawn("two")]
    eventually(lambda: [row["state"] for row in containers() if row["function"] == "waits"] == ["busy"])
    for call in both:
        call.cancel()
    assert "InputCancelled" in batched.waits.remote("notes")


def test_the_input_that_ends_its_container_is_found_and_costs_no_other(batched: Any) -> None:
    got = list(batched.dies.map(range(4), return_exceptions=True))
    assert [one for one in got if isinstance(one, int)] == [0, 1, 3]
    assert isinstance(got[2], ContainerExited)


def test_large_arguments_of_a_batch_do_not_get_mixed_up(batched: Any) -> None:
    lengths = [3 * 2**20 + number for number in range(4)]
    got = list(batched.sizes.map([bytes([number]) * length for number, length in enumerate(lengths)]))
    assert [(length, last) for length, last, _ in got] == [(length, n) for n, length in enumerate(lengths)]


def test_a_program_that_travels_by_value_and_one_that_is_run_by_python_have_them_too(at_home: House) -> None:
    piped = at_home.run("-m", "squall", "run", "-", typed=PROGRAM)
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout.splitlines()[-1] == "[(0, 3), (1, 3), (4, 3)]"
    run = at_home.run(str(at_home.program(PROGRAM + BY_PYTHON)))
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[(0, 3), (1, 3), (4, 3)]"


PROGRAM = """
import squall

app = squall.App("joining")

@app.function(max_containers=1)
@squall.batched(max_batch_size=3, wait_ms=500)
def squares(numbers):
    return [(number ** 2, len(numbers)) for number in numbers]

@app.local_entrypoint()
def main():
    print(list(squares.map(range(3))))
"""
BY_PYTHON = """
if __name__ == "__main__":
    with app.run():
        main()
"""


def containers() -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "squall", "container", "list", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows
