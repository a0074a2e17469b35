"""Templates as a program meets them: starts, hooks, what is refused, and what outlives the agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import House, eventually
from tests.linux import leaks

pytestmark = pytest.mark.needs("namespaces")

# More containers than cores, for each of which one starts without a template: the others wait for it.
MOST = 3 * len(os.sched_getaffinity(0))

APP = """
import os, random, threading, time
import squall

app = squall.App("forks")
drawn = None

@squall.after_fork
def draw():
    global drawn
    drawn = random.random()

@app.function(max_containers={most})
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
    print(dict(naps.map([1.5] * {most})))

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


def started(house: Any, flag: Path, *options: str) -> Any:
    program = house.program(APP.format(most=MOST, more=""))
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
    program = house.program(APP.format(most=MOST, more=more))
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


def test_code_that_travels_by_value_is_forked_whatever_its_size(house: Any) -> None:
    text = """
import squall
app = squall.App("by-value")
table = bytes(range(256)) * 4000

@app.function(serialized=True)
def total():
    return sum(table)

@app.local_entrypoint()
def main():
    print(total.remote())
"""
    done = house.run("-m", "squall", "run", "--start-path", "pooled", f"{house.program(text)}::main")
    assert done.stdout.strip() == str(255 * 128 * 4000), done.stderr


# -- remembered over restarts

HOT = """
import os, time
import click
import squall

app = squall.App("remembered")
if not squall.is_local():
    time.sleep({loading_s})

@app.function(max_containers={most})
def naps(seconds):
    time.sleep(seconds)
    return os.environ["SQUALL_CONTAINER"]

@app.local_entrypoint()
def many():
    print(len(set(naps.map([1.0] * {most}))))

@app.local_entrypoint()
def once(flag: str):
    print("open", flush=True)
    while not os.path.exists(flag):
        time.sleep(0.05)
    print(naps.remote(0), flush=True)
    while not os.path.exists(flag + "2"):
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def hot() -> Iterator[House]:
    """A house that remembers a template, and was taken down since."""
    folder = leaks.fresh_folder(prefix="squall-hot-")
    house = House(folder)
    try:
        done = house.run(
            "-m", "squall", "run", f"{house.program(HOT.format(most=MOST, loading_s=0.5))}::many"
        )
        assert done.returncode == 0, done.stderr
        assert house.run("-m", "squall", "down").returncode == 0
        yield house
    finally:
        down = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert down.returncode == 0, down.stderr


def launcher_of(house: House, function: str, *states: str) -> Any:
    """The launcher of a function once its template is in one of these states."""
    found = json.loads(house.run("-m", "squall", "status", "--json").stdout)["launchers"]
    mine = [row for row in found if (row["function"] or "").endswith(f"/{function}")]
    return next((row for row in mine if not states or row["template"] in states), None)


def opened(house: House, flag: Path, *, loading_s: float) -> Any:
    program = house.program(HOT.format(most=MOST, loading_s=loading_s))
    client = house.start("-m", "squall", "run", f"{program}::once", "--flag", str(flag))
    assert client.stdout is not None
    assert client.stdout.readline() == "open\n"
    return client


def called(house: House, client: Any, flag: Path) -> Any:
    """The row of the container that answers the first call."""
    flag.touch()
    container = client.stdout.readline().strip()
    (row,) = [row for row in rows(house, "naps") if row["id"] == container]
    Path(f"{flag}2").touch()
    _, errors = client.communicate(timeout=60)
    assert client.returncode == 0, errors
    return row


def test_what_was_busy_before_has_its_template_before_the_first_call_though_all_was_down_and_it_was_edited(
    hot: House, tmp_path: Path
) -> None:
    remembered = json.loads((hot.folder / "state" / "templates.json").read_text())["templates"]
    assert [(row["app"], row["function"], row["refused"]) for row in remembered] == [
        ("remembered", "naps", False)
    ]
    assert remembered[0]["starts"] >= 1
    assert remembered[0]["load_s"] >= 0.5
    assert remembered[0]["modules"] == ["click"]
    # Another folder and another text: it is not the version that is remembered.
    client = opened(hot, tmp_path / "flag", loading_s=0.25)
    eventually(lambda: launcher_of(hot, "naps", "ready"))
    assert rows(hot, "naps") == []
    row = called(hot, client, tmp_path / "flag")
    assert row["rung"] in {"spare", "pooled", "on_demand"}, row


def test_a_call_that_comes_before_a_template_is_ready_does_not_wait_for_it(
    hot: House, tmp_path: Path
) -> None:
    client = opened(hot, tmp_path / "flag", loading_s=4)
    eventually(lambda: launcher_of(hot, "naps", "building"))
    row = called(hot, client, tmp_path / "flag")
    if len(os.sched_getaffinity(0)) == 1:
        # The only core is busy with the template: loading the code a second time would be no faster.
        assert row["rung"] in {"spare", "pooled", "on_demand"}, row
    else:
        assert row["rung"] == "parked", row
        assert "its template was still being made" in row["why"]


def test_an_app_that_ends_while_its_template_is_made_leaves_no_launcher(hot: House, tmp_path: Path) -> None:
    client = opened(hot, tmp_path / "flag", loading_s=300)
    launcher = eventually(lambda: launcher_of(hot, "naps", "building"))
    template = eventually(lambda: template_of(launcher["pid"]))
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=60)
    eventually(lambda: launcher_of(hot, "naps") is None)
    eventually(lambda: not Path(f"/proc/{template}").exists())


def test_a_template_that_was_made_ahead_outlives_its_agent_and_goes_with_its_app(
    hot: House, tmp_path: Path
) -> None:
    client = opened(hot, tmp_path / "flag", loading_s=0.25)
    launcher = eventually(lambda: launcher_of(hot, "naps", "ready"))
    template = template_of(launcher["pid"])
    agent = json.loads(hot.run("-m", "squall", "status", "--json").stdout)["agent"]["pid"]
    os.kill(agent, signal.SIGKILL)
    # The agent after it asks its launcher again, which has it still.
    eventually(lambda: launcher_of(hot, "naps", "ready"))
    assert template_of(launcher["pid"]) == template is not None
    row = called(hot, client, tmp_path / "flag")
    assert row["rung"] in {"spare", "pooled", "on_demand"}, row
    eventually(lambda: launcher_of(hot, "naps") is None)


def test_none_is_made_ahead_where_its_owner_wants_none(hot: House, tmp_path: Path) -> None:
    hot.run("-m", "squall", "down")
    hot.environ["SQUALL_TEMPLATES_AHEAD"] = "0"
    try:
        client = opened(hot, tmp_path / "flag", loading_s=2)
        row = called(hot, client, tmp_path / "flag")
        assert (row["rung"], "comes after" in row["why"]) == ("parked", True), row
    finally:
        del hot.environ["SQUALL_TEMPLATES_AHEAD"]
        hot.run("-m", "squall", "down")
