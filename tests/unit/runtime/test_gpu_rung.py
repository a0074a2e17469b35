"""The doctor's row about GPUs, on each kind of machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.runtime.gpu_look import GpuLook, look_at_gpus
from squall.runtime.gpu_rung import gpu_rung

RECORDINGS = Path(__file__).parents[2] / "recordings"


def test_a_machine_without_a_device_lacks_nothing() -> None:
    rung = gpu_rung(GpuLook(refused="no NVIDIA GPU is in this machine"))
    assert rung.good
    assert (rung.rung, rung.why) == ("none", "no NVIDIA GPU is in this machine")


@pytest.mark.parametrize(
    ("refused", "more"),
    [
        ("the Python package nvidia-ml-py is not installed", "squall[gpu]"),
        ("NVML: Driver Not Loaded", "driver"),
        ("/dev/nvidia-uvm cannot be opened here", "nvidia-smi"),
    ],
)
def test_a_device_that_cannot_be_given_says_why_and_what_would_help(refused: str, more: str) -> None:
    rung = gpu_rung(GpuLook(refused=refused, fitted=True))
    assert not rung.good
    assert rung.why == refused
    assert more in rung.more


def test_what_a_recorded_machine_has_is_told_by_type() -> None:
    rung = gpu_rung(look_at_gpus(str(RECORDINGS / "a100x2-l4.by-hand.json")))
    assert rung.good
    assert rung.rung == "1 L4, 2 A100-80GB, each for one container at a time"
    assert "driver 550.54.15" in rung.why
