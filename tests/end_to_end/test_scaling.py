"""Containers come and go with real ones: bounds that are changed while the app runs, and calls in the last moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from squall.model.errors import InvalidError
from tests.end_to_end.test_tries import eventually

CHANGED = """
import time
import squall
app = squall.App("changed")

@app.function(scaledown_window=2)
def scaled(x: int) -> int:
    return x

@app.function()
def scales() -> None:
    scaled.update_autoscaler(min_containers=2, max_containers=3)

if __name__ == "__main__":
    with app.run():
        scales.remote()
        print("scaled", flush=True)
        time.sleep(60)
"""

LAST_MOMENT = """
import random, threading, time
import squall
app = squall.App("late")

def function(number):
    @app.function(name=f"f{number}", scaledown_window=2, serialized=True)
    def double(x):
        return 2 * x
    return double

functions = [function(number) for number in range(6)]
failed = []

def calls(function, dice):
    for number in range(4):
        if function.remote(number) != 2 * number:
            failed.append(number)
        # The window, a look of the planner, and the time in which a container ends.
        time.sleep(2 + dice.uniform(-0.02, 0.15))

if __name__ == "__main__":
    with app.run():
        threads = [
            threading.Thread(target=calls, args=(function, random.Random(number)))
            for number, function in enumerate(functions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        print("lost" if failed or any(thread.is_alive() for thread in threads) else "none is lost")
"""


FOREIGN = """
import squall
from squall.model.errors import PermissionDeniedError
from squall.sdk.blocking import run_blocking
from squall.sdk.client import Client

mine, other = squall.App("mine"), squall.App("other")

@other.function()
def guarded() -> None: ...

@mine.function()
def meddles(function: str) -> str:
    try:
        run_blocking(Client.here().ask("function.scale", {"fn": function, "scaling": {"min_containers": 1}}))
    except PermissionDeniedError:
        return "refused"
    return "it was let"

if __name__ == "__main__":
    with mine.run(), other.run():
        print(meddles.remote(guarded.target().function), meddles.remote(meddles.target().function))
"""


def scaling_of(house: Any, name: str) -> dict[str, Any]:
    rows = json.loads(house.run("-m", "squall", "app", "list", "--json").stdout)
    found: dict[str, Any] = next(row["scaling"][name] for row in rows if name in row["scaling"])
    return found


def server_of(house: Any) -> int | None:
    done = house.run("-m", "squall", "status", "--json")
    found: int | None = json.loads(done.stdout)["server"]["pid"] if done.returncode == 0 else None
    return found


def count(house: Any, name: str) -> int:
    rows = json.loads(house.run("-m", "squall", "container", "list", "--json").stdout)
    return [row["function"] for row in rows].count(name)


def test_the_count_of_containers_follows_bounds_that_are_changed(verbs: Any, at_home: Any) -> None:
    verbs.nap.update_autoscaler(min_containers=3)
    eventually(lambda: count(at_home, "nap") == 3)
    asyncio.run(verbs.nap.update_autoscaler.aio(min_containers=0, scaledown_window=2))
    eventually(lambda: count(at_home, "nap") == 0)
    scaling = scaling_of(at_home, "nap")
    assert (scaling["min_containers"], scaling["scaledown_window_s"]) == (0, 2.0)


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ({"min_containers": 5, "max_containers": 2}, "below"),
        ({"scaledown_window": 1}, "between 2 and 3600"),
        ({"max_containers": 2.5}, "whole number"),
        ({"buffer_containers": "many"}, "whole number"),
    ],
)
def test_bounds_that_cannot_be_kept_are_refused(verbs: Any, bounds: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        verbs.double.update_autoscaler(**bounds)


def test_a_function_scales_another_of_its_app_and_a_new_server_keeps_to_it(house: Any) -> None:
    client = house.start(str(house.program(CHANGED)))
    try:
        assert client.stdout.readline() == "scaled\n"
        eventually(lambda: count(house, "scaled") == 2)
        server = server_of(house)
        assert server is not None
        os.kill(server, signal.SIGKILL)
        eventually(lambda: server_of(house) not in (None, server) and count(house, "scaled") == 2)
        assert scaling_of(house, "scaled")["max_containers"] == 3
    finally:
        client.kill()
        client.communicate()


def test_a_container_cannot_scale_the_functions_of_another_app(house: Any) -> None:
    done = house.run(str(house.program(FOREIGN)))
    assert done.stdout == "refused it was let\n", done.stderr


def test_calls_that_come_when_the_last_container_goes_are_answered(house: Any) -> None:
    done = house.run(str(house.program(LAST_MOMENT)))
    assert done.stdout == "none is lost\n", done.stderr
