"""Inputs of spawned calls that failed: listed and run again, from Python and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import squall
from squall.model.errors import ContainerExited

pytestmark = pytest.mark.needs("linux")

app = squall.App("dead-letters")


@app.function(serialized=True, max_containers=1, name="moody")
def moody(number: int, path: str) -> int:
    import os

    if number % 2 and not os.path.exists(path):
        if number == 3:
            os._exit(7)
        raise ValueError(f"not yet {number}")
    return number


@app.function(serialized=True, max_containers=1, scaledown_window=600)
def second_time(number: int) -> int:
    import os

    path = f"/tmp/tried-{number}"
    if not os.path.exists(path):
        open(path, "w").close()
        raise ValueError(f"first try of {number}")
    return number


@pytest.fixture(scope="module")
def running(at_home: Any) -> Iterator[Any]:
    with app.run():
        yield at_home


def command(house: Any, *arguments: str) -> Any:
    done = house.run("-m", "squall", "call", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def test_what_failed_is_listed_and_runs_again(running: Any) -> None:
    call = moody.spawn_map(range(5), kwargs={"path": "/proc/none"})
    with pytest.raises(ContainerExited):
        call.get(index=3, timeout=60)
    assert call.get(index=4, timeout=60) == 4
    dead = call.dead_letters()
    assert [(one.index, one.code, one.function) for one in dead] == [
        (1, "", "moody"),
        (3, "SQ-1405", "moody"),
    ]
    rows = command(running, "dead", call.object_id, "--json")
    assert [row["index"] for row in rows] == [1, 3]
    assert call.object_id in command(running, "dead", "--function", "moody")
    assert command(running, "dead", "--function", "other", "--json") == []
    assert command(running, "replay", call.object_id, "3", "--json") == {
        "call": call.object_id,
        "inputs": 1,
    }
    with pytest.raises(ContainerExited):
        call.get(index=3, timeout=60)
    (first, again) = call.dead_letters()
    assert (first.index, again.index) == (1, 3)
    assert again.attempt > dead[1].attempt
    assert call.replay() == 2
    with pytest.raises(ValueError, match="not yet 1"):
        call.get(index=1, timeout=60)
    with pytest.raises(ContainerExited):
        call.get(index=3, timeout=60)
    assert call.replay([0, 2, 4]) == 0


@pytest.mark.needs("namespaces")  # its container counts in a /tmp of its own
def test_what_succeeds_the_second_time_has_its_value_and_is_dead_no_more(running: Any) -> None:
    call = second_time.spawn_map(range(3))
    for index in range(3):
        with pytest.raises(ValueError, match=f"first try of {index}"):
            call.get(index=index, timeout=60)
    assert call.replay([1, 2]) == 2
    assert [call.get(index=index, timeout=60) for index in (1, 2)] == [1, 2]
    assert [one.index for one in call.dead_letters()] == [0]
    assert call.replay() == 1
    assert list(call.iter()) == [0, 1, 2]
    assert call.dead_letters() == []
    assert running.run("-m", "squall", "call", "replay", "fc-" + "0" * 32).returncode == 1
