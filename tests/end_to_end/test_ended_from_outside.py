"""A run that is ended by its user: what remains, and how long it takes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

PROGRAM = """
import time
import squall
app = squall.App("ending")

@app.function(max_containers=3)
def nap(seconds):
    print("napping", flush=True)
    time.sleep(seconds)

@app.function(max_containers=1)
def clings(seconds):
    print("napping", flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(seconds)
        except BaseException:
            pass

@app.local_entrypoint()
def main():
    nap.for_each([60] * 100)

@app.local_entrypoint()
def clinging():
    clings.remote(60)

if __name__ == "__main__":
    with app.run():
        nap.remote(60)
"""


def containers(house: Any) -> list[Any]:
    rows = json.loads(house.run("-m", "squall", "container", "list", "--json").stdout)
    return [row for row in rows if row["function"] in {"nap", "clings"}]


def apps(house: Any) -> list[str]:
    return [row["name"] for row in json.loads(house.run("-m", "squall", "app", "list", "--json").stdout)]


def eventually(holds: Callable[[], bool], within_s: float) -> None:
    until_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def running(house: Any, *arguments: str) -> subprocess.Popen[str]:
    client: subprocess.Popen[str] = house.start(*arguments)
    assert client.stdout is not None
    while "napping" not in (line := client.stdout.readline()):
        assert line, client.communicate()
    return client


@pytest.mark.parametrize("target", ["main", "clinging"])
def test_ctrl_c_ends_a_run_at_once_and_leaves_nothing(house: Any, target: str) -> None:
    program = house.program(PROGRAM)
    client = running(house, "-m", "squall", "run", f"{program}::{target}")
    began = time.monotonic()
    client.send_signal(signal.SIGINT)
    _, errors = client.communicate(timeout=30)
    assert client.returncode == 130, errors
    assert time.monotonic() - began < 2.5
    assert "Traceback" not in errors
    eventually(lambda: not containers(house), within_s=5.0 if target == "main" else 45.0)
    assert "ending" not in apps(house)


def test_a_second_ctrl_c_does_not_break_it(house: Any) -> None:
    client = running(house, "-m", "squall", "run", f"{house.program(PROGRAM)}::main")
    client.send_signal(signal.SIGINT)
    time.sleep(0.02)
    client.send_signal(signal.SIGINT)
    _, errors = client.communicate(timeout=30)
    assert client.returncode in {130, -signal.SIGINT}, errors
    eventually(lambda: not containers(house), within_s=12.0)


def test_ctrl_c_ends_a_plain_script_too(house: Any) -> None:
    client = running(house, str(house.program(PROGRAM)))
    client.send_signal(signal.SIGINT)
    _, errors = client.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    eventually(lambda: not containers(house), within_s=5.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_is_killed_takes_its_app_along_within_seconds(
    house: Any, number: signal.Signals
) -> None:
    client = running(house, "-m", "squall", "run", f"{house.program(PROGRAM)}::main")
    client.send_signal(number)
    client.communicate(timeout=30)
    eventually(lambda: not containers(house) and "ending" not in apps(house), within_s=10.0)
