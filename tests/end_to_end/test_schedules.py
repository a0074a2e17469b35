"""Schedules in real containers: called at their times, once, over kills of the server, with a container there beforehand."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing, wait_until

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

BEATS = """
import time
import squall

app = squall.App("beats")
ran = squall.Queue.from_name("ran", create_if_missing=True)

@app.function({options})
def beat(note: str = "plain"):
    ran.put([squall.current_function_call_id(), note])
    print("ran", squall.current_function_call_id(), flush=True)
    time.sleep({work})
"""
LISTED = """
import squall

app = squall.App("listed")

@app.function(schedule=squall.Cron("0 9 1 1 *", timezone="Europe/Berlin"))
def yearly():
    pass

@app.function(schedule=squall.Period(days=1, hours=12))
def often():
    pass

@app.function()
def never():
    pass
"""


@pytest.fixture
def fresh() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


def deploy(terminal: Terminal, options: str, *arguments: str, work: float = 0.0) -> None:
    path = terminal.write(BEATS.format(options=options, work=work), "beats.py")
    said = terminal.squall("deploy", str(path), *arguments, within_s=60)
    assert said.status == 0, said


def ticks(terminal: Terminal, *more: str) -> list[dict[str, Any]]:
    """Of the function, the first first."""
    said = terminal.squall("schedule", "ticks", "beats", "beat", "--json", *more)
    assert said.status == 0, said
    rows: list[dict[str, Any]] = json.loads(said.out)
    return rows[::-1]


def runs(terminal: Terminal, *more: str) -> list[str]:
    """The call of each run, in their order."""
    said = terminal.squall("queue", "peek", "ran", "--lines", "1000", "--json", *more)
    return [call for call, note in json.loads(said.out) if note == "plain"] if said.status == 0 else []


def containers(terminal: Terminal) -> list[float]:
    """When each that is there was asked for."""
    rows = json.loads(terminal.squall("container", "list", "--json").out)
    return [time.time() - row["age_s"] for row in rows]


def kill_server(terminal: Terminal) -> None:
    os.kill(json.loads(terminal.squall("status", "--json").out)["server"]["pid"], signal.SIGKILL)


def test_a_function_is_called_at_each_of_its_times_over_kills_restarts_and_new_versions(
    fresh: Terminal,
) -> None:
    period = "schedule=squall.Period(seconds=2, overlap='run', missed='all')"
    deploy(fresh, period)
    wait_until(lambda: len(runs(fresh)) >= 2, within_s=30)
    first = ticks(fresh)[0]["at_s"]
    kill_server(fresh)
    wait_until(lambda: len(runs(fresh)) >= 4, within_s=30)
    assert fresh.squall("down").status == 0
    deploy(fresh, period)
    wait_until(lambda: len(runs(fresh)) >= 7, within_s=30)
    assert fresh.squall("app", "rollback", "beats", within_s=60).status == 0
    wait_until(lambda: len(runs(fresh)) >= 9, within_s=30)
    assert fresh.squall("app", "stop", "beats").status == 0
    done = Counter(runs(fresh))
    assert set(done.values()) == {1}
    fresh.squall("schedule", "ticks", "beats", "beat").is_error("SQ-1031", "'beats'")
    # Two seconds apart from the first on, whoever served meanwhile.
    at_s = sorted(int(call.partition("-")[2][:12], 16) / 1e3 for call in done)
    assert at_s[0] == pytest.approx(first, abs=0.002)
    assert {round(one - at_s[0], 1) % 2 for one in at_s} == {0.0}


@pytest.mark.parametrize("point", ["schedule.changed:2", "tick.taken:2", "tick.called:2", "tick.settled:2"])
def test_a_server_that_dies_at_any_step_of_a_tick_calls_it_once(fresh: Terminal, point: str) -> None:
    # Each server dies when it comes there a second time.
    fresh.environ["SQUALL_FAULT"] = point
    deploy(fresh, "schedule=squall.Period(seconds=2, overlap='run', missed='all')")
    if point.startswith("schedule"):
        deploy(fresh, "schedule=squall.Period(seconds=2, overlap='run', missed='all')")
    wait_until(lambda: len(runs(fresh)) >= 5, within_s=60)
    seen = ticks(fresh)
    assert [one["state"] for one in seen[:4]] == ["called"] * 4
    assert [round(one["at_s"] - seen[0]["at_s"], 1) for one in seen[:4]] == [0.0, 2.0, 4.0, 6.0]
    wait_until(lambda: {one["call"] for one in seen} <= set(runs(fresh)), within_s=30)
    assert set(Counter(runs(fresh)).values()) == {1}
    assert fresh.squall("app", "stop", "beats").status == 0


def test_a_container_has_loaded_its_code_before_the_time_comes(fresh: Terminal) -> None:
    deploy(fresh, "schedule=squall.Period(seconds=12), scaledown_window=2")
    wait_until(lambda: len(runs(fresh)) >= 1, within_s=60)
    # A slow machine may need more than one time until there is none.
    wait_until(lambda: not containers(fresh), within_s=60)
    before = len(ticks(fresh))
    began: list[float] = []

    def is_there() -> bool:
        began.extend(containers(fresh))
        return bool(began)

    wait_until(is_there, within_s=20)
    wait_until(lambda: len(ticks(fresh)) > before, within_s=20)
    following = ticks(fresh)[before]
    assert min(began) < following["at_s"]
    assert following["taken_s"] - following["at_s"] < 1.0


def test_a_time_is_left_out_while_the_call_before_still_runs(fresh: Terminal) -> None:
    deploy(fresh, "schedule=squall.Period(seconds=1)", work=3.5)
    wait_until(lambda: len(runs(fresh)) >= 2, within_s=30)
    states = [one["state"] for one in ticks(fresh)]
    first, second = [place for place, state in enumerate(states) if state == "called"][:2]
    assert 3 <= second - first <= 5
    assert set(states[first + 1 : second]) == {"skipped"}
    assert all("still runs" in one["why"] for one in ticks(fresh) if one["state"] == "skipped")


def test_environments_and_what_cannot_be_scheduled(fresh: Terminal) -> None:
    assert fresh.squall("environment", "create", "staging", within_s=30).status == 0
    deploy(fresh, "schedule=squall.Period(seconds=2)", "--env", "staging")
    wait_until(lambda: bool(ticks(fresh, "--env", "staging")), within_s=30)
    fresh.squall("schedule", "list", "beats").is_error("SQ-1031", "in staging there is one of that name")
    said = fresh.squall("schedule", "call", "beats", "beat", "--env", "staging", "--json")
    call = json.loads(said.out)["call"]
    wait_until(lambda: call in runs(fresh, "--env", "staging"), within_s=30)
    fresh.squall("schedule", "call", "beats", "tune", "--env", "staging").is_error("SQ-1037", "beat")
    wrong = fresh.write(
        BEATS.format(options="schedule=squall.Cron('0 2 * * *', timezone='Europe/Berlln')", work=0)
    )
    fresh.squall("deploy", str(wrong), within_s=60).is_error("SQ-1036", "beat", "Europe/Berlln")
    wrong = fresh.write(BEATS.format(options="schedule=squall.Cron('0 25 * * *')", work=0))
    fresh.squall("deploy", str(wrong)).is_error(
        "SQ-1036", "hour '25' is no number from 0 to 23", "program.py"
    )


def test_what_is_run_and_not_deployed_is_called_by_nobody_else(fresh: Terminal) -> None:
    said = fresh.run(
        BEATS.format(options="schedule=squall.Period(seconds=1)", work=3.0), "::beat", within_s=60
    )
    assert said.status == 0, said
    assert "beat is called by itself once its app is deployed: every 1 second" in said.err
    assert len(re.findall(r"\bran fc-", said.out)) == 1
    assert json.loads(fresh.squall("schedule", "list", "--json").out) == []


def test_what_the_commands_print_is_as_it_was(fresh: Terminal) -> None:
    golden = Path(__file__).parent / "golden" / "schedules.txt"
    path = fresh.write(LISTED, "listed.py")
    said = []
    for arguments in (
        ("deploy", str(path)),
        ("schedule", "list"),
        ("schedule", "list", "listed", "--json"),
        ("schedule", "ticks", "listed", "often"),
        ("schedule", "ticks", "listed", "often", "--json"),
        ("schedule", "call", "listed", "often"),
        ("schedule", "call", "listed", "yearly", "--json"),
        ("app", "stop", "listed"),
        ("schedule", "list"),
        ("schedule", "list", "--json"),
    ):
        done = fresh.squall(*arguments, within_s=60)
        assert done.status == 0, done
        shown = " ".join(word.rpartition("/")[2] for word in arguments)
        said.append(f"$ squall {shown}\n{_timeless(done.out)}")
    assert "".join(said) == golden.read_text(encoding="utf-8")


def _timeless(text: str) -> str:
    """What differs from run to run made the same."""
    text = re.sub(r"\b(fc|ap)-[0-9a-f]{32}", r"\1-" + "0" * 32, text)
    text = re.sub(r"\bin \d+[smhd]\b *", "in AGE ", text)
    text = re.sub(r"\b\d{9,}\.\d+\b", "0.0", text)
    return re.sub(r" +", " ", text)
