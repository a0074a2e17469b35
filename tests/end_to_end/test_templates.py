"""Templates as a program meets them: starts, hooks, what is refused, and what outlives the agent."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("namespaces")

APP = """
import os, random, threading, time
import squall

app = squall.App("forks")
drawn = None

@squall.after_fork
def draw():
    global drawn
    drawn = random.random()

@app.function(max_containers=6)
def naps(seconds):
    time.sleep(seconds)
    return os.environ["SQUALL_CONTAINER"], drawn

@app.function()
def adds(number):
    return number + 1

@app.function(max_containers=1)
def waits(seconds):
    time.sleep(seconds)
    return os.getpid()

{more}

@app.local_entrypoint()
def main():
    print(dict(naps.map([1.5] * 6)))

@app.local_entrypoint()
def twice(flag: str):
    print(waits.remote(0), flush=True)
    while not os.path.exists(flag):
        time.sleep(0.05)
    print(waits.remote(0), flush=True)
"""


def rows(house: Any, function: str) -> list[Any]:
    listed = json.loads(house.run("-m", "squall", "container", "list", "--json").stdout)
    return [row for row in listed if row["function"] == function]


def eventually(holds: Callable[[], Any], within_s: float = 30.0) -> Any:
    until_s = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    return found


def started(house: Any, flag: Path, *options: str) -> Any:
    program = house.program(APP.format(more=""))
    return house.start("-m", "squall", "run", *options, f"{program}::twice", "--flag", str(flag))


def template_of(launcher: int) -> int | None:
    """The template below this launcher's template init, if there is one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition(" (")[2].rpartition(") ")
        except OSError:
            continue  # It has ended meanwhile.
        parents[int(path.parent.name)] = (name, int(rest.split()[1]))
    found = [
        pid
        for pid, (name, parent) in parents.items()
        if name == "squall-template" and parents.get(parent, ("", 0))[1] == launcher
    ]
    return found[0] if found else None


def run(house: Any, target: str, *flags: str, more: str = "") -> Any:
    program = house.program(APP.format(more=more))
    return house.run("-m", "squall", "run", *flags, f"{program}::{target}")


def test_containers_beyond_the_first_are_forked_and_each_has_called_its_hook(house: Any) -> None:
    done = run(house, "main")
    drawn = eval(done.stdout.strip().splitlines()[-1])
    assert len(set(drawn.values())) == len(drawn) >= 2
    assert None not in drawn.values()


@pytest.mark.parametrize("rung", ["spare", "pooled", "on_demand", "parked", "exec"])
def test_a_rung_can_be_demanded(house: Any, tmp_path: Path, rung: str) -> None:
    client = started(house, tmp_path / "flag", "--start-path", rung)
    assert client.stdout.readline().strip().isdigit()
    (row,) = rows(house, "waits")
    (tmp_path / "flag").touch()
    _, errors = client.communicate(timeout=60)
    assert client.returncode == 0, errors
    assert row["rung"] == rung
    assert row["why"]


def test_a_template_outlives_its_agent_and_serves_the_next_one(house: Any, tmp_path: Path) -> None:
    client = started(house, tmp_path / "flag", "--start-path", "pooled")
    assert client.stdout.readline().strip().isdigit()
    first = rows(house, "waits")[0]
    template = template_of(first["launcher_pid"])
    assert template is not None
    agent = json.loads(house.run("-m", "squall", "status", "--json").stdout)["agent"]["pid"]
    os.kill(agent, signal.SIGKILL)
    eventually(lambda: house.run("-m", "squall", "container", "stop", first["id"]).returncode == 0)
    eventually(lambda: first["id"] not in {row["id"] for row in rows(house, "waits")})
    assert template_of(first["launcher_pid"]) == template
    (tmp_path / "flag").touch()
    out, errors = client.communicate(timeout=60)
    assert client.returncode == 0, errors
    assert out.strip().isdigit()


def test_code_that_cannot_be_forked_says_so_and_runs_all_the_same(house: Any) -> None:
    more = "if not squall.is_local(): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    done = run(house, "main", more=more)
    assert done.returncode == 0, done.stderr
    assert "starts without a template: a thread runs after the imports" in done.stderr
    assert "inside the function" in done.stderr


def test_code_that_calls_remotely_while_it_is_imported_gets_no_template_and_works(house: Any) -> None:
    done = run(house, "main", more="if os.environ.get('SQUALL_FUNCTION') == 'naps': loaded = adds.remote(1)")
    assert done.returncode == 0, done.stderr
    assert "makes a remote call while it is imported" in done.stderr
