"""A launcher that does not answer any more: what it should have started starts elsewhere, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from signal import SIGCONT, SIGSTOP

import pytest

from squall.runtime.process_tree import standing
from squall.settings.process import ProcessMark
from squall.testing.chaos.counting import count
from squall.testing.chaos.house import LocalHouse, eventually, kill

pytestmark = [pytest.mark.needs("linux", "root", "namespaces"), pytest.mark.timeout(200)]

WISH = {"map": 20, "spawn": 10}


def _parked(house: LocalHouse) -> list[ProcessMark]:
    """The launchers, once each serves its agent."""
    found = house.processes("launcher")
    return found if all("epoll" in standing(mark.pid) for mark in found) else []


@pytest.fixture
def house() -> Iterator[LocalHouse]:
    made = LocalHouse.made()
    subprocess.run(
        [sys.executable, "-m", "squall", "up"], env=made.environ, check=True, capture_output=True, timeout=60
    )
    yield made
    assert made.down() == {}


def test_calls_go_on_with_another_launcher_and_the_log_says_where_the_silent_one_stands(
    house: LocalHouse,
) -> None:
    stopped = eventually(lambda: _parked(house), 20.0)
    assert stopped
    assert all(kill(mark, SIGSTOP) for mark in stopped)
    client = house.client("one", WISH)
    assert client.wait(120) == 0
    counts = count(house.account(frozenset({"one"})))
    assert (counts.accepted, counts.lost, counts.stuck, counts.doubled, counts.broken) == (30, 0, 0, 0, ())
    logs = house.logs()
    assert "has not answered 'start' for 30 s: process" in logs
    assert "is in state T" in logs
    for mark in stopped:
        kill(mark, SIGCONT)
