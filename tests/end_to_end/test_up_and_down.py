"""The real server and agent: up, status and down, also when something was killed in between."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from squall.settings.paths import StatePaths
from squall.settings.process import ProcessMark, is_alive, mark_of

SOURCES = Path(__file__).parents[2] / "src"
PROGRAM = """
import squall

app = squall.App()


@app.function()
def twice(x):
    return 2 * x


@app.local_entrypoint()
def main():
    print(twice.remote(2))
"""


class Shell:
    """Somebody at a terminal, with a state directory of their own."""

    def __init__(self, state: Path) -> None:
        self.paths = StatePaths(state=state)
        self._environ = {**os.environ, "SQUALL_STATE_DIR": str(state), "PYTHONPATH": str(SOURCES)}

    def begins(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "squall", *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def types(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "squall", *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def asks(self, *arguments: str) -> dict[str, Any]:
        done = self.types(*arguments, "--json")
        assert done.returncode in {0, 3}, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "state")
    yield shell
    assert shell.types("down", "--force").returncode == 0


def marks(found: dict[str, Any]) -> dict[str, ProcessMark]:
    seen = {name: mark_of(found[name]["pid"]) for name in ("supervisor", "server", "agent")}
    assert all(seen.values()), found
    return {name: mark for name, mark in seen.items() if mark is not None}


def all_ended(left: list[ProcessMark]) -> bool:
    until_s = time.monotonic() + 10
    while any(map(is_alive, left)) and time.monotonic() < until_s:
        time.sleep(0.02)
    return not any(map(is_alive, left))


def test_up_starts_what_down_ends_and_status_tells_which(shell: Shell) -> None:
    up = shell.asks("up")
    running = marks(up)
    status = shell.asks("status")
    assert status["running"]
    assert marks(status) == running
    assert shell.asks("up")["server"] == up["server"]
    stopped = shell.asks("down")["stopped"]
    assert {name: mark.pid for name, mark in running.items()}.items() <= stopped.items()
    assert all_ended(list(running.values()))
    assert not shell.asks("status")["running"]
    assert shell.asks("down") == {"stopped": {}}


def test_down_ends_what_a_killed_supervisor_left_behind(shell: Shell) -> None:
    running = marks(shell.asks("up"))
    os.kill(running["supervisor"].pid, 9)
    assert all_ended([running["supervisor"]])
    status = shell.asks("status")
    assert status["running"]
    assert status["supervisor"] is None
    assert shell.types("down").returncode == 0
    assert all_ended(list(running.values()))


def test_up_after_a_killed_supervisor_adopts_what_it_left(shell: Shell) -> None:
    running = marks(shell.asks("up"))
    os.kill(running["supervisor"].pid, 9)
    assert all_ended([running["supervisor"]])
    again = marks(shell.asks("up"))
    assert again["server"] == running["server"]
    assert again["agent"] == running["agent"]
    assert again["supervisor"] != running["supervisor"]


def test_down_by_force_ends_a_server_that_does_not_answer(shell: Shell) -> None:
    running = marks(shell.asks("up"))
    os.kill(running["server"].pid, 19)  # stopped: it holds its socket and says nothing
    status = shell.types("status")
    assert status.returncode == 3
    assert "the server does not answer" in status.stdout
    assert f"server: process {running['server'].pid}" in status.stdout
    assert shell.types("down", "--force").returncode == 0
    assert all_ended(list(running.values()))


def test_down_while_an_app_waits_for_a_machine_is_quick_and_its_client_is_told(shell: Shell) -> None:
    shell.paths.state.mkdir(mode=0o700)
    (shell.paths.state / "node-id").mkdir()  # no agent can run like this
    running = shell.asks("up")
    program = shell.paths.state.parent / "program.py"
    program.write_text(PROGRAM)
    client = shell.begins("run", str(program))
    try:
        until_s = time.monotonic() + 20
        while not shell.asks("status")["apps"]:
            assert time.monotonic() < until_s
            time.sleep(0.05)
        assert shell.types("down").returncode == 0
        _, said = client.communicate(timeout=20)
    finally:
        client.kill()
    assert client.returncode == 1
    assert "SQ-1312" in said
    assert "the app was stopped before it was ready: server ended" in said
    assert not Path(f"/proc/{running['server']['pid']}").exists()
    assert '"signal": "kill"' not in shell.paths.log("supervisor").read_text()


def test_the_path_of_the_state_directory_may_be_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    shell = Shell(deep / "state")
    try:
        assert shell.asks("up")["running"]
        assert shell.asks("status")["running"]
    finally:
        assert shell.types("down").returncode == 0
