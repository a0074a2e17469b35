"""Collecting, asked of a real server: what an app that ended has left goes, what one that runs has stays."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import House, eventually

pytestmark = pytest.mark.needs("linux")

PROGRAM = """
import sys
import squall

app = squall.App("{name}")

@app.function()
def double(x):
    return 2 * x

@app.local_entrypoint()
def main():
    print(double.remote({name!r}), flush=True)
    {last}
"""

ASK = """
import json, sys
from squall.cli.asking import running_client
print(json.dumps(running_client().request("blobs.collect", json.loads(sys.argv[1]))))
"""


def ask(house: House, **head: object) -> dict[str, object]:
    told = house.run("-c", ASK, json.dumps(head))
    assert told.returncode == 0, told.stderr
    found: dict[str, object] = json.loads(told.stdout)
    return found


def test_what_an_app_has_left_goes_and_what_one_has_that_runs_stays(at_home: House) -> None:
    blobs = Path(at_home.environ["SQUALL_STATE_DIR"]) / "blobs"
    ended = at_home.program(PROGRAM.format(name="ended", last="pass"))
    assert at_home.run("-m", "squall", "run", str(ended)).stdout.splitlines()[-1] == "endedended"
    runs = at_home.program(PROGRAM.format(name="runs", last="import time; time.sleep(600)"))
    client = at_home.start("-m", "squall", "run", str(runs))
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "runsruns\n"
        for path in blobs.glob("??/*"):
            os.utime(path, (time.time() - 1000, time.time() - 1000))
        eventually(lambda: int(str(ask(at_home, grace_s=60)["blobs"])) >= 2)
        # Its function can still be made ready from what is here, in a fresh container too.
        left = {path.parent.name + path.name for path in blobs.glob("??/*")}
        assert len(left) >= 2
        assert any(b"import time; time.sleep(600)" in path.read_bytes() for path in blobs.glob("??/*"))
        assert not any(b'squall.App("ended")' in path.read_bytes() for path in blobs.glob("??/*"))
        notes = ask(at_home)["notes"]
        assert isinstance(notes, dict)
        assert time.time() - notes["collected_s"] < 60
    finally:
        client.kill()
        client.communicate()


@pytest.mark.parametrize("grace_s", ["x", 1, -1, [], True])
def test_what_was_just_sent_cannot_be_collected(at_home: House, grace_s: object) -> None:
    refused = at_home.run("-c", ASK, json.dumps({"grace_s": grace_s}))
    assert refused.returncode == 1
    assert "SQ-1010" in refused.stderr
