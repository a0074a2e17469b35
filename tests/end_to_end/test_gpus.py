"""GPUs from a user's program, on a machine whose driver is a recording: nodes, turns, refusals, restarts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from squall.settings.process import is_alive
from squall.settings.record import read_record
from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing

PROGRAM = Path(__file__).parent / "programs" / "gpu_app.py"
RECORDINGS = Path(__file__).parents[1] / "recordings"
H100 = "GPU-00000000-0000-4000-8000-000000000000"
# Only root can make nodes of devices that this machine has not got.
NODES = ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"] if os.geteuid() == 0 else []


@pytest.fixture(params=["h100.by-hand", "h100"])
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    folder = fresh_folder()
    recording = RECORDINGS / f"{request.param}.json"
    one = Terminal(
        folder=folder, environ={"SQUALL_GPU_RECORDING": str(recording), "SQUALL_STOP_GRACE_S": "1"}
    )
    try:
        yield one
        leave_nothing(one)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def begin(terminal: Terminal, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        env=terminal.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(terminal: Terminal, *arguments: str) -> str:
    client = begin(terminal, *arguments)
    try:
        out, _ = client.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        stands = terminal.squall("status").out
        client.kill()
        pytest.fail(f"{client.communicate()[0]}\n{stands}\n{terminal.squall('logs', '--agent').out}")
    assert client.returncode == 0, out
    return out


def status(terminal: Terminal) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(terminal.squall("status", "--json").out)
    return found


def wait_for(holds: Callable[[], Any], client: subprocess.Popen[str]) -> Any:
    until_s = time.monotonic() + 40
    while not (found := holds()):
        assert client.poll() is None, client.communicate()[0]
        assert time.monotonic() < until_s
        time.sleep(0.05)
    return found


@pytest.mark.needs("namespaces")
def test_a_function_sees_the_device_that_it_asked_for_and_one_without_sees_none(terminal: Terminal) -> None:
    assert f"GOT {[*NODES, H100, '0']}" in run(terminal, "first", "0")
    assert "GOT ['False']" in run(terminal, "without")


def test_what_no_machine_can_give_is_refused_at_once_with_what_they_have(terminal: Terminal) -> None:
    out = run(terminal, "never")
    assert "REFUSED" in out
    assert "A100, else H100:2" in out
    assert "GPUs on all machines: H100" in out
    assert "True" in out


def test_two_functions_on_one_device_take_turns_and_the_wait_names_it(terminal: Terminal) -> None:
    client = begin(terminal, "both", "4")

    def waiting() -> Any:
        return [row for row in status(terminal).get("waiting", []) if row["reason"] == "no_capacity"]

    (row,) = wait_for(waiting, client)
    assert row["words"] == "waits for a GPU (B200:8, else any): 0 of 1 H100 free"
    (container,) = status(terminal)["containers"]
    assert (container["gpus"], container["gpu_ids"]) == ("H100", [H100])
    out, _ = client.communicate(timeout=60)
    assert client.returncode == 0, out
    assert "SECOND" in out
    assert "FIRST" in out


def test_a_container_keeps_its_device_when_the_agent_is_killed(terminal: Terminal) -> None:
    client = begin(terminal, "both", "6")
    wait_for(lambda: [row for row in status(terminal).get("waiting", []) if row["words"]], client)
    record = read_record(terminal.state / "run" / "supervisor.json")
    assert record is not None
    os.kill(record.members["agent"].pid, signal.SIGKILL)

    def back() -> bool:
        found = read_record(terminal.state / "run" / "supervisor.json")
        agent = found.members.get("agent") if found is not None else None
        return agent is not None and agent != record.members["agent"] and is_alive(agent)

    wait_for(back, client)
    rows = wait_for(lambda: [r for r in status(terminal).get("containers", []) if r["gpu_ids"]], client)
    assert [row["gpu_ids"] for row in rows] == [[H100]], "the other function was given the same device"
    out, _ = client.communicate(timeout=60)
    assert client.returncode == 0, out
    assert "SECOND" in out
    assert "FIRST" in out


@pytest.mark.parametrize("terminal", ["h100-held.by-hand"], indirect=True)
def test_a_device_that_still_holds_memory_is_held_back_and_status_says_why(terminal: Terminal) -> None:
    assert "GOT" in run(terminal, "first", "0")
    client = begin(terminal, "second")
    try:
        held = wait_for(
            lambda: [out for node in status(terminal).get("nodes", []) for out in node["gpus_out"]], client
        )
        assert held == [
            {
                "id": H100,
                "type": "H100",
                "why": "61000 MiB of its memory are in use, by no process that the driver names",
            }
        ]
        assert "is held back: 61000 MiB" in terminal.squall("status").out
        wait_for(lambda: [r for r in status(terminal)["waiting"] if "is held back" in r["words"]], client)
    finally:
        client.kill()
        client.communicate()
