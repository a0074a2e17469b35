"""Where the state lies: on an overlay, where no overlay's upper half can be; on a disk that is full or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.runtime.probe import probe
from squall.runtime.rungs import row_of
from squall.runtime.spec import Limits
from tests.linux.runtime.box import Box, a_box

pytestmark = pytest.mark.needs("root", "namespaces")


@pytest.fixture(params=["root", "user"])
def box_on_overlay(request: pytest.FixtureRequest) -> Iterator[Box]:
    """A launcher whose state directory is on an overlay, as in a container of somebody else's."""

    def cover(box: Box) -> None:
        for name in ("below", "upper", "work"):
            (box.top / name).mkdir()
            box.give(box.top / name)
        where = ",".join(
            f"{key}dir={box.top / name}"
            for key, name in (("lower", "below"), ("upper", "upper"), ("work", "work"))
        )
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", where, str(box.state)], check=True)

    with a_box(request.param, prepare=cover) as box:
        yield box


def test_the_root_is_kept_in_memory_there_and_is_as_private(box_on_overlay: Box) -> None:
    code = """
open("/app/made", "w").write("x")
open("/tmp/made", "w").write("x")
print(next(line.split()[2] for line in open("/proc/mounts") if line.split()[1] == "/"))
"""
    assert box_on_overlay.run(code).out == "overlay\n"
    assert "made" not in os.listdir(box_on_overlay.top / "lower" / "app")


def test_what_is_written_there_counts_as_the_containers_memory(box_on_overlay: Box) -> None:
    code = "f = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()"
    exited = box_on_overlay.run(code, limits=Limits(memory_bytes=64 << 20, disk_bytes=1 << 30)).exited
    assert exited["cause"] == "oom"


def test_its_disk_is_bounded_there_by_an_error(box_on_overlay: Box) -> None:
    code = "f = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()"
    assert "No space left" in box_on_overlay.run(code, limits=Limits(disk_bytes=8 << 20)).err


def test_a_read_only_state_directory_is_refused_by_name(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(state)], check=True)
    try:
        found, deeper = probe(str(state)), probe(str(state / "deeper"))
    finally:
        subprocess.run(["umount", str(state)], check=True)
    assert "not writable" in found.sandbox_refused
    assert "cannot be made" in deeper.sandbox_refused


def test_a_probe_of_this_machine_finds_root_and_leaves_nothing(tmp_path: Path) -> None:
    found = probe(str(tmp_path))
    assert row_of(found) == "root"
    assert found.upper_on_disk
    assert list(tmp_path.iterdir()) == []
