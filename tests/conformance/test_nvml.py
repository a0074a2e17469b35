"""The driver of a machine with GPUs and the one that replays a recording pass the same checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from squall.runtime.gpu_look import is_fitted, nvml_library
from squall.runtime.gpu_recording import RecordedNvml, read_recording
from squall.runtime.nvml import DriverNvml, Nvml
from squall.testing.conformance import nvml

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("*.json"))


def replayed(path: Path) -> Callable[[], Nvml]:
    return lambda: RecordedNvml(read_recording(path))


# A machine without a device has no driver to ask; GUARANTEES.md says where one was asked, and tests/tidy how long ago.
KINDS = [
    *([pytest.param(lambda: DriverNvml(nvml_library()), id="driver")] if is_fitted() else []),
    *(pytest.param(replayed(path), id=path.name.removesuffix(".json")) for path in RECORDINGS),
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("check", nvml.CHECKS, ids=lambda check: check.__name__)
def test_nvml(make: Callable[[], Nvml], check: nvml.Check) -> None:
    check(make())


def test_there_are_recordings_and_each_says_how_it_was_made() -> None:
    assert RECORDINGS
    for path in RECORDINGS:
        by_hand = read_recording(path).made.startswith("by hand")
        assert by_hand == path.name.endswith(".by-hand.json"), path.name
