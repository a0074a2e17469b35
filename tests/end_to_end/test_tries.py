"""Attempts: tried again, out of time, killed, fresh containers, and how many of them there are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from squall.model.errors import FunctionTimeout, StartupTimeout


# Where a machine allows no namespaces, /tmp is everybody's: each try is counted in a folder of its own.
def test_a_function_that_raises_is_tried_again_after_its_delays(verbs: Any) -> None:
    first, second, third = verbs.third_time.remote(f"third-{uuid4().hex}")
    assert second - first >= 0.05
    assert third - second >= 0.1


def test_when_the_tries_are_used_up_the_last_exception_is_raised(verbs: Any) -> None:
    with pytest.raises(RuntimeError, match="try 3"):
        verbs.never.remote(f"never-{uuid4().hex}")


@pytest.mark.parametrize("name", ["sleeps_on", "spins_on", "awaits_on"])
def test_an_input_is_ended_at_its_timeout_whatever_it_does(verbs: Any, name: str) -> None:
    function = getattr(verbs, name)
    assert function.remote(0) == "done"
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="its timeout of 1 s") as caught:
        function.remote(20)
    assert isinstance(caught.value, FunctionTimeout)
    assert time.monotonic() - began < 4
    assert function.remote(0) == "done"


def test_a_generator_that_stops_yielding_is_ended_at_its_timeout(verbs: Any) -> None:
    items = verbs.yields_on.remote_gen(20)
    assert next(items) == 1
    with pytest.raises(FunctionTimeout):
        next(items)


def test_what_does_not_give_way_is_killed_and_its_neighbours_run_again(verbs: Any) -> None:
    verbs.holds_on.for_each([0.0] * 50)
    began = time.monotonic()
    seconds = [0.0] * 20 + [60.0] + [0.0] * 20
    got = list(verbs.holds_on.map(seconds, return_exceptions=True))
    assert time.monotonic() - began < 20
    assert isinstance(got.pop(20), FunctionTimeout)
    assert got == ["done 0.0"] * 40


def test_a_slow_input_does_not_keep_what_stood_behind_it(verbs: Any) -> None:
    verbs.nap.for_each([0.0] * 200)
    began = time.monotonic()
    got = verbs.nap.map([0.0] * 30 + [4.0] + [0.0] * 30, order_outputs=False)
    assert [next(got) for _ in range(60)] == [0.0] * 60
    assert time.monotonic() - began < 3.5
    assert list(got) == [4.0]


@pytest.mark.needs("namespaces")  # it counts in a file of its own /tmp
def test_a_container_of_single_use_runs_one_input(verbs: Any) -> None:
    assert [verbs.fresh.remote() for _ in range(3)] == [1, 1, 1]
    assert list(verbs.fresh.map(*[range(4)])) == [1] * 4


def test_code_that_takes_too_long_to_load_ends_its_calls(house: Any) -> None:
    program = house.program(
        """
import squall, time
app = squall.App("slowly")
if not squall.is_local():
    time.sleep(30)

@app.function(startup_timeout=1)
def late() -> None: ...

if __name__ == "__main__":
    with app.run():
        try:
            late.remote()
        except Exception as error:
            print(type(error).__name__, error.code, isinstance(error, TimeoutError))
"""
    )
    done = house.run(str(program))
    assert done.stdout == f"StartupTimeout {StartupTimeout.code} True\n", done.stderr


def test_containers_come_and_go_within_their_bounds(house: Any) -> None:
    program = house.program(
        """
import squall, time
app = squall.App("bounds")

@app.function(min_containers=2, scaledown_window=2)
def kept() -> None: ...

@app.function(max_containers=1)
def one(seconds: float) -> None:
    time.sleep(seconds)

@app.function(scaledown_window=2)
def gone() -> None: ...

if __name__ == "__main__":
    with app.run():
        gone.remote()
        one.spawn_map([0.1] * 10)
        print("ready", flush=True)
        time.sleep(60)
"""
    )

    def counts() -> dict[str, int]:
        rows = json.loads(house.run("-m", "squall", "container", "list", "--json").stdout)
        names = [row["function"] for row in rows]
        return {name: names.count(name) for name in names}

    client = house.start(str(program))
    try:
        assert client.stdout.readline() == "ready\n"
        eventually(lambda: counts().get("kept") == 2)
        assert counts()["one"] == 1
        eventually(lambda: "gone" not in counts())
        assert counts()["kept"] == 2
    finally:
        client.kill()
        client.communicate()


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    until_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.05)
