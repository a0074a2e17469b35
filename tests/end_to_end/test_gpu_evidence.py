"""`squall testing gpu`: from a plain interpreter, offline, with a recorded driver; whatever fails is part of what it finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from squall.runtime.gpu_recording import read_recording
from squall.runtime.nvml import NvmlError
from squall.testing.conformance import nvml
from squall.testing.gpu.run import BUDGET_S, CHECKS, WITHOUT_A_DEVICE

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests" / "recordings" / "h100.by-hand.json"
EIGHT_MINUTES_S = 480
needs_venv = pytest.mark.needs("venv")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with no package at all."""
    folder = tmp_path_factory.mktemp("home") / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    return str(folder / "bin" / "python")


def run(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SQUALL_") and name != "PYTHONPATH"
    }
    return subprocess.run(
        [python, "squall", "testing", "gpu", *arguments],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@needs_venv
def test_a_plain_checkout_needs_no_package_and_tells_every_check(bare: str, tmp_path: Path) -> None:
    done = run(bare, "--json", "--fake", str(RECORDING), "--record", str(tmp_path), "--commit", "abc")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(found["checks"], indent=1)
    assert [check["check"] for check in found["checks"]] == list(CHECKS)
    assert {check["check"] for check in found["checks"] if check["ok"]} == set(WITHOUT_A_DEVICE)
    assert set(found["left_out"]) == set(CHECKS) - set(WITHOUT_A_DEVICE)
    assert (found["fake"], found["commit"], found["failed"]) == (True, "abc", [])
    (queue,) = [check for check in found["checks"] if check["check"] == "queue"]
    assert "0 of 1 H100 free" in queue["figures"]["words"]
    assert json.loads((tmp_path / "gpu-h100.json").read_text()) == found
    recorded = read_recording(tmp_path / "h100.json")
    assert recorded.devices == read_recording(RECORDING).devices


@needs_venv
def test_a_machine_without_a_device_is_told_so_and_nothing_is_claimed(bare: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    done = run(bare, "--json", "--fake", str(broken))
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["passed"] == 0
    assert "broken" in found["refused"] or "Recording" in found["refused"]
    assert all(check["ok"] is None for check in found["checks"])


def test_all_checks_together_end_within_eight_minutes() -> None:
    # What comes after the last check: the server ends, at most 20 s, and the machine is probed.
    assert BUDGET_S + 20 + 10 < EIGHT_MINUTES_S


def test_a_conformance_check_notices_a_driver_that_answers_for_any_device() -> None:
    class Answers:
        def version(self) -> str:
            return "1.2"

        def devices(self) -> tuple[Any, ...]:
            return ()

        def use(self, device: str) -> Any:
            return device

    with pytest.raises(AssertionError):
        nvml.a_device_that_is_not_there_is_refused_by_name(Answers())
    with pytest.raises(AssertionError):
        nvml.every_device_has_an_id_a_node_and_memory_of_its_own(Answers())
    assert issubclass(NvmlError, Exception)
