"""Real faults for a while: processes killed at crash points, in a storm, during a map; the long suite is `squall testing chaos`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from squall.testing.chaos.adoption import Map, adoption
from squall.testing.chaos.house import LocalHouse, eventually, kill
from squall.testing.chaos.order import fsync_order
from squall.testing.chaos.planted import BUGS, Bug, seek
from squall.testing.chaos.points import run_armed
from squall.testing.chaos.report import Report
from squall.testing.chaos.stale import stale
from squall.testing.chaos.storm import Weather, storm

pytestmark = [pytest.mark.needs("root", "namespaces", "cgroups"), pytest.mark.timeout(600)]

# Those at which a fault was once lost sight of, and a few of each role.
ARMED = (
    "server/call.taken:1",
    "server/call.recorded:1",
    "server/lease.taken:9",
    "server/outcome.taken:1,server/call.reviving:1",
    "server/outcome.told:18",
    "server/blobs.written:1",
    "agent/relay.going:7,server/state.applied:3",
    "agent/relay.passed:46,server/lease.taken:15",
    "agent/relay.going:24",
    "agent/relay.passed:9,agent/adopt.attached:1",
    "agent/start.started:2",
    "launcher/fork.forked:2",
    "launcher/exit.taken:1",
    "supervisor/record.writing:1",
)
# The four that every suite for such a thing should find.
PLANTED = (
    "a call is accepted before it is on record",
    "what is lost on its way to a container is never given out again",
    "a client that has lost its connection sends nothing again",
    "a container lets go of outcomes that nobody has acknowledged",
)


def told(report: Report) -> str:
    return "\n".join(report.lines())[:8000]


@pytest.mark.parametrize("setting", ARMED)
def test_a_process_that_dies_at_a_crash_point_loses_doubles_and_leaves_nothing(setting: str) -> None:
    report = run_armed(setting)
    assert report.holds, told(report)


def test_a_storm_of_faults_loses_doubles_and_leaves_nothing() -> None:
    report = storm(Weather(minutes=0.5, seed=7, most_s=2.0))
    assert report.holds, told(report)
    assert report.injected >= 5
    assert report.accepted > 100


@pytest.mark.parametrize("role", ["server", "agent"])
def test_a_wide_map_goes_on_in_the_same_containers_while_one_of_ours_is_killed(role: str) -> None:
    # How soon it goes on is the suite's to say, on a machine that has nothing else to do.
    report = adoption(role, Map(inputs=2000, containers=8), recovered_within_s=30.0)
    assert report.holds, told(report)
    assert report.killed == 1


def test_agents_and_launchers_killed_again_and_again_leave_nothing_and_touch_nothing_of_others() -> None:
    report = stale(4)
    assert report.holds, told(report)
    assert report.killed >= 8


@pytest.mark.needs("strace")
def test_a_durable_call_is_forced_to_disk_before_it_is_answered() -> None:
    report = fsync_order(least=300)
    assert report.holds, told(report)


@pytest.mark.parametrize(
    "bug", [bug for bug in BUGS if bug.name in PLANTED], ids=lambda bug: bug.name.replace(" ", "-")
)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    sought = seek(bug)
    assert sought.found, sought.shown


def test_everything_can_be_seen_and_ended_while_the_agent_is_stopped() -> None:
    house = LocalHouse.made()
    try:
        client = house.client("one", {"call": 400})
        assert eventually(lambda: house.account(frozenset({"one"})).answers, 60)
        assert kill(house.processes("agent")[0], signal.SIGSTOP)
        assert house.status()["launchers"] == []
        client.kill()
        down = [sys.executable, "-m", "squall", "down", "--force"]
        done = subprocess.run(
            down, env=house.environ, cwd=os.path.sep, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
    finally:
        left = house.down()
    assert not left
