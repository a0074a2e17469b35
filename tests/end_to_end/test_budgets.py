"""A budget that is reached drains what it is for: what runs is finished, what is new refused, what is on record waits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import squall
from squall.model.errors import BudgetReached
from squall.sdk.maps import GROWTH
from tests.end_to_end.conftest import House, eventually

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(180)]

app = squall.App("drained", tags={"team": "a"})


@app.function(serialized=True, max_containers=2, cpu=0.1)
def number(value: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return value


@app.function(
    serialized=True, max_containers=1, cpu=0.1, retries=squall.Retries(max_retries=2, initial_delay=0.5)
)
def second_try(tried: squall.Dict) -> int:
    tries = int(tried.get("tries", 0)) + 1
    tried["tries"] = tries
    time.sleep(3)
    if tries == 1:
        raise ValueError("the first try fails")
    return tries


@app.function(serialized=True, max_containers=1, cpu=0.1)
def leads(child: squall.Function[[int], int]) -> list[int]:
    time.sleep(3)
    return [child.remote(7), *child.map([8, 9])]


@pytest.fixture(scope="module")
def running(at_home: House) -> Iterator[House]:
    with app.run():
        yield at_home


def budget(house: House, *arguments: str) -> Any:
    done = house.run("-m", "squall", "budget", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reach(house: House) -> None:
    assert budget(house, "set", "0", "--app", "drained", "--unit", "seconds")["state"] == "reached"


def reopen(house: House) -> None:
    budget(house, "remove", "--app", "drained", "--unit", "seconds")


def test_new_inputs_are_refused_and_told_why_until_the_budget_is_raised(running: House) -> None:
    assert number.remote(1) == 1
    reach(running)
    with pytest.raises(BudgetReached, match="app drained") as caught:
        number.remote(2)
    assert "squall budget set" in caught.value.remedy
    assert caught.value.opens_s is not None
    assert caught.value.opens_s > time.time()
    with pytest.raises(BudgetReached):
        number.spawn(3)
    with pytest.raises(BudgetReached):
        list(number.map([4]))
    assert budget(running, "set", "1e6", "--app", "drained", "--unit", "seconds")["state"] == "open"
    assert number.remote(5) == 5
    reopen(running)


def test_a_map_that_runs_ends_what_was_taken_and_no_more(running: House) -> None:
    def inputs() -> Iterator[int]:
        # The first goes alone, and then so many at once.
        yield from range(1 + GROWTH)
        reach(running)
        yield from range(1 + GROWTH, 1 + GROWTH + 4)

    try:
        found = list(number.map(inputs(), kwargs={"seconds": 0.1}, return_exceptions=True))
    finally:
        reopen(running)
    assert found[: 1 + GROWTH] == list(range(1 + GROWTH))
    assert len(found) == 1 + GROWTH + 4
    assert all(isinstance(one, BudgetReached) for one in found[1 + GROWTH :])


def test_what_runs_is_finished_with_its_retries_and_with_what_it_calls(running: House) -> None:
    with squall.Dict.ephemeral() as tries:
        tried, led = second_try.spawn(tries), leads.spawn(number)
        eventually(lambda: tries.contains("tries"))
        eventually(lambda: _containers(running, "leads"))
        reach(running)
        try:
            assert tried.get(timeout=60) == 2
            assert led.get(timeout=60) == [7, 8, 9]
        finally:
            reopen(running)


def test_calls_on_record_wait_with_a_reason_and_go_on_by_themselves(running: House) -> None:
    calls = [number.spawn(value, 1.0) for value in range(12)]
    eventually(lambda: _containers(running, "number"))
    reach(running)
    try:
        (row,) = [row for row in _status(running)["waiting"] if row["function"].endswith("/number")]
        assert row["reason"] == "budget_reached"
        assert "drained" in row["words"]
        assert row["inputs"] >= 6
        eventually(lambda: not _in_hand(running))
        waits = _waits(running)
        time.sleep(1.5)
        assert _waits(running) == waits >= 6
        assert "a budget is used up" in running.run("-m", "squall", "status").stdout or waits
    finally:
        reopen(running)
    assert [call.get(timeout=60) for call in calls] == list(range(12))


def test_usage_is_reported_by_what_is_asked_and_adds_up(running: House) -> None:
    number.remote(1)
    for by in ("function", "app", "environment", "tag", "tag:team", "gpu", "call", "day"):
        told = _report(running, by)
        total = told["total"][0]
        for name in ("container_s", "cpu_paid_s", "memory_paid_byte_s", "gpu_s"):
            assert sum(row[name] for row in told["rows"]) == pytest.approx(total[name]), by
    names = {row["name"] for row in _report(running, "function")["rows"]}
    assert {"drained/number", "drained/leads", "drained/second_try"} <= names
    assert "a" in {row["name"] for row in _report(running, "tag:team")["rows"]}
    by_call = _report(running, "call")["rows"]
    assert any(row["name"].startswith("fc-") and row["name"].endswith("drained/number") for row in by_call)


def _report(house: House, by: str) -> Any:
    done = house.run("-m", "squall", "usage", "report", "--by", by, "--since", "1d", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _status(house: House) -> Any:
    return json.loads(house.run("-m", "squall", "status", "--json").stdout)


def _containers(house: House, name: str) -> list[Any]:
    rows = json.loads(house.run("-m", "squall", "container", "list", "--json").stdout)
    return [row for row in rows if row["function"] == name and row["state"] == "busy"]


def _in_hand(house: House) -> list[Any]:
    return _containers(house, "number")


def _waits(house: House) -> int:
    return sum(row["inputs"] for row in _status(house)["waiting"] if row["reason"] == "budget_reached")
