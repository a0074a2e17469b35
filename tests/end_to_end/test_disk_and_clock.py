"""A disk that does not take what it was given, and a clock that jumps, under a server that works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from squall.sdk.local_server import end_server, ensure_server
from squall.settings.options import Options
from squall.settings.paths import StatePaths, open_state
from squall.settings.record import read_record
from squall.settings.start import command
from tests.end_to_end.terminal import Terminal, fresh_folder
from tests.machines import wait_for

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(180)]

FIU = Path("/usr/lib/fiu")
SPAWNED = """
import sys, squall
app = squall.App("recorded")

@app.function()
def double(x):
    return 2 * x

@app.local_entrypoint()
def main(count: int, note: str):
    calls = []
    for number in range(count):
        calls.append(double.spawn(number))
        if number == count // 4:
            open(note, "w").close()
    assert len({call.object_id for call in calls}) == count
    assert [call.get() for call in calls] == [2 * number for number in range(count)]
    print("each once")
"""
MAPPED = """
import time, squall
app = squall.App("timed")

@app.function(retries=2, timeout=20)
def slow(x):
    time.sleep(0.05)
    return x

@app.local_entrypoint()
def main(count: int, note: str):
    spawned = slow.spawn_map(range(40))
    got = []
    for value in slow.map(range(count)):
        got.append(value)
        if value == count // 4:
            open(note, "w").close()
    assert got == list(range(count)), got
    print("each once")
"""

SCHEDULED = """
import squall

app = squall.App("beats")
ran = squall.Queue.from_name("ran", create_if_missing=True)

@app.function(schedule=squall.Period(seconds=1, overlap="run"))
def beat():
    ran.put(squall.current_function_call_id())
"""


@dataclass
class Hindered:
    """A house whose server sees what its environment says; see `variables`."""

    paths: StatePaths
    terminal: Terminal
    variables: dict[str, dict[str, str]]

    def start(self) -> None:
        """Starts it, or what of it does not run."""
        commands = {
            role: [
                *(
                    "/usr/bin/env",
                    *(f"{name}={value}" for name, value in self.variables.get(role, {}).items()),
                ),
                *command(f"squall.{role}", "--state", str(self.paths.state)),
            ]
            for role in ("server", "agent")
        }
        supervisor = [
            *command("squall.supervisor", "--state", str(self.paths.state), "--detach", bare=True),
            *("--commands", json.dumps(commands)),
        ]
        ensure_server(self.paths, Options(start_deadline_s=30.0), supervisor=supervisor)

    def pid(self, member: str) -> int:
        """Of a process that runs now."""
        record = read_record(self.paths.supervisor_record)
        return record.members[member].pid if record is not None and member in record.members else 0


@pytest.fixture
def hindered() -> Iterator[Hindered]:
    folder = fresh_folder()
    terminal = Terminal(folder=folder)
    house = Hindered(open_state(folder / "state"), terminal, {})
    yield house
    assert end_server(house.paths, within_s=30.0)
    shutil.rmtree(folder)


def program(hindered: Hindered, text: str, count: int, note: Path) -> subprocess.Popen[str]:
    path = hindered.terminal.write(text)
    return subprocess.Popen(
        [sys.executable, "-m", "squall", "run", str(path), "--count", str(count), "--note", str(note)],
        env=hindered.terminal.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.needs("fiu")
def test_a_server_whose_disk_fails_to_take_a_commit_ends_and_the_next_loses_nothing(
    hindered: Hindered, tmp_path: Path
) -> None:
    preload = f"{FIU}/fiu_run_preload.so {FIU}/fiu_posix_preload.so"
    fifo = str(tmp_path / "fiu")
    hindered.variables["server"] = {"LD_PRELOAD": preload, "FIU_CTRL_FIFO": fifo, "FIU_ENABLE": ""}
    hindered.start()
    client = program(hindered, SPAWNED, 200, tmp_path / "now")
    wait_for((tmp_path / "now").exists)
    before = hindered.pid("server")
    # Both ways to reach the disk by one command, with EIO: after the first the server may be gone and hear no second.
    failing = "enable name=posix/io/sync/*,failnum=1,failinfo=5"
    subprocess.run(["fiu-ctrl", "-f", fifo, "-c", failing, str(before)], check=True, timeout=10)
    out, err = client.communicate(timeout=90)
    assert (client.returncode, out) == (0, "each once\n"), err
    log = hindered.paths.log("server").read_text()
    assert log.count("the disk did not take the record") == 1, log
    assert hindered.pid("server") != before
    assert "Traceback" not in log


@pytest.mark.needs("faketime")
@pytest.mark.parametrize("jump", ["+2h", "-2h"])
def test_a_clock_that_jumps_ends_nothing_and_runs_nothing_twice(
    hindered: Hindered, tmp_path: Path, jump: str
) -> None:
    clock = told_time(hindered, tmp_path)
    hindered.start()
    client = program(hindered, MAPPED, 200, tmp_path / "now")
    wait_for((tmp_path / "now").exists)
    before = hindered.pid("server")
    clock.write_text(f"{jump}\n")
    time.sleep(1.0)  # some of its looks at the clock come after the jump
    said = hindered.terminal.squall("status", "--json")
    seen = json.loads(said.out)
    assert not [value for value in numbers_in(seen) if value < 0], seen
    out, err = client.communicate(timeout=90)
    assert (client.returncode, out) == (0, "each once\n"), err
    assert hindered.pid("server") == before
    assert seen["fenced"] == 0
    assert os.path.exists(hindered.paths.server_socket)


def numbers_in(value: object) -> list[float]:
    """Every number in plain values."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers_in(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers_in(one)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.needs("faketime")
@pytest.mark.timeout(240)
def test_a_clock_that_jumps_or_stands_still_calls_no_schedule_twice(
    hindered: Hindered, tmp_path: Path
) -> None:
    clock = told_time(hindered, tmp_path)
    hindered.start()
    path = hindered.terminal.write(SCHEDULED, "beats.py")
    said = hindered.terminal.squall("deploy", str(path), within_s=60)
    assert said.status == 0, said
    before, seen = hindered.pid("server"), {}
    # Frozen where it is by then: without an "@", faketime has no time pass.
    for phase in ("+0", "+2h", "+0 ", "-2h", "+0  ", "frozen", "+0   "):
        count = len(runs(hindered))
        frozen = time.strftime("%Y-%m-%d %H:%M:%S\n")
        clock.write_text(frozen if phase == "frozen" else f"{phase.strip()}\n")
        if phase == "frozen":
            time.sleep(7.0)  # more than six periods of it
            status = json.loads(hindered.terminal.squall("status", "--json").out)
            assert not [value for value in numbers_in(status) if value < 0], status
        else:
            wait_for(partial(ran_so_often, hindered, count + 3), within_s=40)
        seen[phase] = len(runs(hindered)) - count
    rows = json.loads(hindered.terminal.squall("schedule", "list", "--json").out)
    called = [tick for tick in rows[0]["ticks"] if tick["state"] == "called"]
    wait_for(lambda: len(runs(hindered)) >= len(called), within_s=20)
    ran = runs(hindered)
    print("runs by what the clock did:", seen, "missed:", rows[0]["missed"])
    assert len(ran) == len(set(ran))
    assert len({tick["at_s"] for tick in rows[0]["ticks"]}) == len(rows[0]["ticks"])
    assert {tick["call"] for tick in called} <= set(ran)
    # In seven seconds: what was due before it stood still.
    assert seen["frozen"] <= 3
    # An hour that was put forward is made up for by the last of its instants alone.
    assert len(ran) < 150
    assert hindered.pid("server") == before


def runs(hindered: Hindered) -> list[str]:
    """The calls of the scheduled function that have run, in their order."""
    said = hindered.terminal.squall("queue", "peek", "ran", "--lines", "1000", "--json")
    return list(json.loads(said.out)) if said.status == 0 else []


def ran_so_often(hindered: Hindered, count: int) -> bool:
    return len(runs(hindered)) >= count


def told_time(hindered: Hindered, folder: Path) -> Path:
    """The file that says what time the server reads; its monotonic clock is the true one."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    clock = folder / "clock"
    clock.write_text("+0\n")
    hindered.variables["server"] = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return clock
