"""Calls that inputs make: they go with the call that made them, and are shown below it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import squall
from squall.model.errors import InputCancelled
from tests.end_to_end.conftest import eventually

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(180)]
CHILDREN = 1000

app = squall.App("trees")


@app.function(serialized=True, max_containers=3)
def leaf(seconds: float) -> str:
    import time

    time.sleep(seconds)
    return "slept"


@app.function(serialized=True, max_containers=2)
def branch(how: str, count: int, seconds: float) -> int:
    if how == "spawn":
        return len([call.get() for call in [leaf.spawn(seconds) for _ in range(count)]])
    if how == "deep":
        return int(branch.remote("map", count, seconds))
    return len(list(leaf.map([seconds] * count)))


@pytest.fixture(scope="module")
def running(at_home: Any) -> Iterator[Any]:
    with app.run():
        assert branch.remote("map", 3, 0.0) == 3
        yield at_home


def in_hand(house: Any) -> dict[str, int]:
    rows = json.loads(house.run("-m", "squall", "container", "list", "--json").stdout)
    mine = [row for row in rows if row["function"] in {"leaf", "branch"}]
    return {row["id"]: row["inputs"] for row in mine if row["inputs"]}


def open_calls(house: Any) -> int:
    return int(json.loads(house.run("-m", "squall", "status", "--json").stdout)["calls"])


@pytest.mark.parametrize("how", ["spawn", "map", "deep"])
def test_a_tree_of_a_thousand_ends_within_five_seconds_and_nothing_of_it_runs_on(
    running: Any, how: str
) -> None:
    call = branch.spawn(how, CHILDREN, 60.0)
    eventually(lambda: len(in_hand(running)) >= 4 and (how != "spawn" or open_calls(running) > CHILDREN))
    began = time.monotonic()
    call.cancel()
    eventually(lambda: not open_calls(running) and not in_hand(running), within_s=15)
    took = time.monotonic() - began
    assert took < 5, took
    with pytest.raises(InputCancelled):
        call.get(timeout=10)
    below = [node for node in call.get_call_graph().walk() if node.function == "leaf"]
    assert below
    assert {node.state for node in below} == {"cancelled"}
    # And the containers are there for others.
    assert leaf.remote(0.0) == "slept"


def test_containers_of_a_tree_can_be_taken_along(running: Any) -> None:
    call = branch.spawn("map", 20, 60.0)
    before = eventually(lambda: len(found := in_hand(running)) >= 4 and found)
    call.cancel(terminate_containers=True)

    def gone() -> bool:
        rows = json.loads(running.run("-m", "squall", "container", "list", "--json").stdout)
        return not {row["id"] for row in rows} & before.keys()

    eventually(gone, within_s=15)
    assert leaf.remote(0.0) == "slept"


def test_the_calls_below_a_call_are_shown(running: Any) -> None:
    call = branch.spawn("spawn", 3, 0.0)
    assert call.get(timeout=60) == 3
    root = call.get_call_graph()
    assert (root.id, root.function, root.verb, root.state, root.inputs) == (
        *(call.object_id, "branch", "spawn", "ended", 1),
    )
    assert [(child.function, child.state, child.done) for child in root.children] == [
        ("leaf", "ended", 1)
    ] * 3
    assert {child.parent for child in root.children} == {f"{call.object_id}:0"}
    deep = branch.spawn("deep", 2, 0.0)
    assert deep.get(timeout=60) == 2
    names = [(node.function, node.verb, node.inputs) for node in deep.get_call_graph().walk()]
    assert names == [("branch", "spawn", 1), ("branch", "remote", 1), ("leaf", "map", 2)]
