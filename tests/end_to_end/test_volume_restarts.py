"""The server killed at each step of uploads to a volume: each of them is one version, whole, and none is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from squall import faults
from tests.end_to_end.conftest import House
from tests.linux import leaks

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(240)]

STEPS = ("volumes.merged", "volumes.forced", "volumes.kept", "volumes.recorded")
PROGRAM = """
import io
import squall

volume = squall.Volume.from_name("data", create_if_missing=True)
for round in range(8):
    with volume.batch_upload(force=True) as batch:
        for number in range(20):
            batch.put_file(io.BytesIO(f"{round} {number}".encode() * 100), f"d/{number}")
    seen = {b"".join(volume.read_file(f"d/{number}")).split()[0] for number in range(20)}
    assert seen == {str(round).encode()}, seen
versions = volume.history()
assert [one.number for one in versions] == list(range(8, -1, -1)), versions
for one in versions[:-1]:
    seen = {b"".join(volume.read_file(f"d/{number}", version=one.number)).split()[0] for number in range(20)}
    assert seen == {str(one.number - 1).encode()}, (one, seen)
print("whole")
"""


@pytest.fixture
def own() -> Iterator[House]:
    """A house of its own: its server is killed."""
    folder = leaks.fresh_folder(prefix="squall-again-")
    house = House(folder)
    house.environ["SQUALL_START_DEADLINE_S"] = "60"
    try:
        yield house
    finally:
        done = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


def test_uploads_are_versions_once_each_though_their_server_dies_at_every_step(own: House) -> None:
    notes = own.folder / "notes"
    notes.mkdir()
    own.environ[faults.VARIABLE] = ",".join(f"server/{step}:2" for step in STEPS)
    own.environ[faults.NOTES_VARIABLE] = str(notes)
    done = own.run(str(own.program(PROGRAM)), within_s=180)
    assert done.stdout == "whole\n", done.stderr
    assert set(faults.struck(str(notes))) == {f"server/{step}" for step in STEPS}
