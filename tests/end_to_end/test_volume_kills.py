"""Processes of ours killed at each step of a commit: the volume holds the old version or the new one, and nothing is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall import faults
from tests.end_to_end.conftest import House, eventually
from tests.linux import leaks

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(300)]

FILES = 60
PROGRAM = f"""
import json, os, sys, time
import squall

volume = squall.Volume.from_name("killed", create_if_missing=True)
app = squall.App("kills", volumes={{"/data": volume}})
FILES = {FILES}

@app.function(max_containers=1, timeout=120)
def writes(text: str) -> None:
    for number in range(FILES):
        with open(f"/data/{{number}}", "w") as file:
            file.write(text)
    volume.commit()

@app.function(max_containers=1, timeout=120)
def sees() -> list[str]:
    volume.reload()
    return sorted({{open(f"/data/{{name}}").read() for name in os.listdir("/data")}})

@app.function(single_use_containers=True, timeout=120)
def ends(text: str) -> None:
    for number in range(FILES):
        with open(f"/data/{{number}}", "w") as file:
            file.write(text)

def whole() -> list[list[str]]:
    "What each version on record has in its files."
    found = []
    for version in volume.history():
        paths = [entry.path for entry in volume.listdir("/", version=version.number)]
        texts = {{b"".join(volume.read_file(path, version=version.number)).decode() for path in paths}}
        found.append([len(paths), *sorted(texts)])
    return found

if __name__ == "__main__":
    with app.run():
        writes.remote("1")
        one = sees.remote()
        writes.remote("2")
        two = sees.remote()
        writes.remote("3")
        three = sees.remote()
        if sys.argv[1] == "ends":
            ends.remote("4")
            until = time.monotonic() + 60
            while b"".join(volume.read_file("/0")) != b"4":
                assert time.monotonic() < until
                time.sleep(0.1)
    print(json.dumps([one, two, three, whole()]))
"""
COMMITS = (
    "agent/volume.kept:2",
    "agent/volume.telling:2",
    "agent/volume.committed:2",
    "agent/volume.noted:2",
    "agent/volume.turned:2",
    "server/volumes.merged:2",
    "server/volumes.forced:2",
    "server/volumes.kept:2",
    "server/volumes.recorded:2",
    "launcher/volume.made:1",
    "launcher/volume.placed:1",
    "launcher/volume.placed:2",
)
ENDS = ("agent/volume.ended:1", "agent/volume.cleared:1", "agent/volume.committed:4", "server/volumes.kept:4")


@pytest.fixture
def armed() -> Iterator[House]:
    folder = leaks.fresh_folder(prefix="squall-volk-")
    house = House(folder)
    (folder / "notes").mkdir()
    house.environ |= {faults.NOTES_VARIABLE: str(folder / "notes")}
    try:
        yield house
    finally:
        done = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("setting", [*COMMITS, *ENDS])
def test_a_kill_at_any_step_of_a_commit_leaves_the_old_version_or_the_new_one(
    armed: House, setting: str
) -> None:
    armed.environ |= {faults.VARIABLE: setting}
    way = "ends" if setting in ENDS else "commits"
    done = armed.run(str(armed.program(PROGRAM)), way, within_s=240)
    assert done.returncode == 0, done.stderr
    one, two, three, versions = json.loads(done.stdout)
    assert (one, two, three) == (["1"], ["2"], ["3"])
    # Each version is one commit and whole: no file of another, and none missing.
    assert all(found in ([0], [FILES, *found[1:2]]) for found in versions), versions
    assert faults.struck(str(armed.folder / "notes")), "nobody died"
    mounted = armed.folder / "state" / "mounted"
    eventually(lambda: not _left_in(mounted), within_s=60)


WAITING = """
import os, time
import squall

volume = squall.Volume.from_name("kept", create_if_missing=True)
app = squall.App("waiting", volumes={"/data": volume})

@app.function(max_containers=1, on_lost="fail", timeout=120)
def writes() -> None:
    with open("/data/words", "w") as file:
        file.write("not committed")
    print("written", flush=True)
    time.sleep(90)

if __name__ == "__main__":
    with app.run():
        writes.remote()
"""
READS = """
import squall
volume = squall.Volume.from_name("kept", create_if_missing=True)
try:
    print(b"".join(volume.read_file("words")).decode())
except FileNotFoundError:
    print("nothing")
"""


@pytest.mark.parametrize("role", ["squall.agent", "squall.server", "squall.runtime.launcher"])
def test_what_was_not_committed_yet_outlives_whoever_holds_it(armed: House, role: str) -> None:
    program = armed.program(WAITING)
    client = armed.start(str(program))
    try:
        assert client.stdout is not None
        assert any("written" in line for line in client.stdout or ())
        for pid in _processes(armed, role):
            os.kill(pid, signal.SIGKILL)
        reads = str(armed.program(READS))
        eventually(lambda: "not committed" in armed.run(reads).stdout, within_s=60)
    finally:
        client.kill()
        client.communicate()
    mounted = armed.folder / "state" / "mounted"
    eventually(lambda: not _left_in(mounted), within_s=60)


def _processes(house: House, role: str) -> list[int]:
    """Those of a house that run a module of ours."""
    found = []
    for one in Path("/proc").iterdir():
        try:
            words = (one / "cmdline").read_bytes().split(b"\0") if one.name.isdecimal() else []
        except OSError:
            continue
        if role.encode() in words and any(str(house.folder).encode() in word for word in words):
            found.append(int(one.name))
    return found


def _left_in(mounted: Path) -> list[str]:
    return [one.name for one in mounted.iterdir()] if mounted.is_dir() else []
