"""Server, agent and supervisor are replaced by another version and back, under a map whose containers go on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.settings.record import Record, read_record
from squall.settings.version import VERSION
from tests.end_to_end.terminal import SOURCES, Terminal, fresh_folder
from tests.machines import wait_for

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(180)]

NEXT = f"{VERSION}.next"
INPUTS, CONTAINERS = 600, 4
PROGRAM = f"""
import os, time, squall
app = squall.App("upgraded")

@app.function(max_containers={CONTAINERS}, min_containers={CONTAINERS})
def f(x):
    time.sleep(0.02)
    return x, os.environ["SQUALL_CONTAINER"]

@app.local_entrypoint()
def main(out: str):
    got, containers = [], set()
    with open(out, "w", buffering=1) as log:
        for x, container in f.map(range({INPUTS})):
            got.append(x)
            containers.add(container)
            print(len(got), file=log)
    assert got == list(range({INPUTS})), got
    print(len(containers))
"""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    assert terminal.squall("down", "--force").status == 0
    shutil.rmtree(terminal.folder)


def become(tree: Path, version: str) -> None:
    """The program that lies there is of another version from now on, as after `pip install -U`."""
    path = tree / "squall" / "settings" / "version.py"
    text, changed = re.subn(r'VERSION = "[^"]+"', f'VERSION = "{version}"', path.read_text(), count=1)
    assert changed
    path.write_text(text)


def record_of(terminal: Terminal) -> Record:
    record = read_record(terminal.state / "run" / "supervisor.json")
    assert record is not None
    return record


def restarted_as(terminal: Terminal, version: str) -> None:
    """Server, agent and supervisor end, their containers stay, and the client has others started."""
    os.kill(record_of(terminal).supervisor.pid, signal.SIGTERM)
    wait_for(lambda: record_of(terminal).version == version and len(record_of(terminal).members) == 2)


def runners(terminal: Terminal) -> dict[str, int]:
    said = terminal.squall("container", "list", "--json")
    assert said.status == 0, said
    return {row["id"]: row["pid"] for row in json.loads(said.out) if row["pid"]}


def test_another_version_and_the_first_again_take_over_what_runs(terminal: Terminal, tmp_path: Path) -> None:
    tree = tmp_path / "installed"
    shutil.copytree(SOURCES / "squall", tree / "squall", ignore=shutil.ignore_patterns("__pycache__"))
    terminal.environ["PYTHONPATH"] = str(tree)
    path, log = terminal.write(PROGRAM), tmp_path / "came"
    client = subprocess.Popen(
        [sys.executable, "-m", "squall", "run", str(path), "--out", str(log)],
        env=terminal.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def came() -> int:
        try:
            return len(log.read_text().splitlines())
        except FileNotFoundError:
            return 0

    def until(count: int) -> None:
        def enough() -> bool:
            assert client.poll() is None, client.communicate()
            return came() >= count

        wait_for(enough)

    until(INPUTS // 6)
    before = runners(terminal)
    become(tree, NEXT)
    restarted_as(terminal, NEXT)
    # More than what was on its way: so the next server takes outcomes, and questions.
    until(came() + INPUTS // 6)
    assert before.items() <= runners(terminal).items(), "a container has another process"
    become(tree, VERSION)
    restarted_as(terminal, VERSION)
    until(came() + INPUTS // 6)
    assert before.items() <= runners(terminal).items(), "a container has another process"
    out, err = client.communicate(timeout=90)
    assert (client.returncode, out) == (0, f"{CONTAINERS}\n"), err
