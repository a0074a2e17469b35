"""What a function took of the machine is on record once its containers have ended."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from squall.model.ids import CallId
from squall.settings.paths import StatePaths
from squall.state.sqlite_file import open_reader
from squall.state.usage_rows import list_busy
from tests.end_to_end.conftest import House, eventually

pytestmark = pytest.mark.needs("linux")
PROGRAM = """
import squall, time
app = squall.App("usage")

@app.function(memory=512, cpu=0.5, name="taker")
def taker(seconds: float) -> int:
    held = bytearray(128 << 20)
    began = time.process_time()
    while time.process_time() - began < 1.0:
        pass
    time.sleep(seconds)
    return len(held)

if __name__ == "__main__":
    with app.run():
        call = taker.spawn(6.0)
        call.get()
        print(call.object_id)
"""


def test_core_seconds_and_byte_seconds_are_on_record_and_the_seconds_of_the_call(house: House) -> None:
    began_s = time.time()
    done = house.run(str(house.program(PROGRAM)))
    assert done.returncode == 0, done.stderr
    call = CallId(done.stdout.strip())

    def mine() -> dict[str, Any] | None:
        rows = json.loads(house.run("-m", "squall", "usage", "--since", "10m", "--json").stdout)
        return next((row for row in rows if row["function"].endswith("/taker")), None)

    row = eventually(mine)
    lasted_s = time.time() - began_s
    assert row["containers"] == 1
    assert 7 <= row["container_s"] <= lasted_s
    assert 1.0 <= row["cpu_s"] <= lasted_s * 2
    assert row["cpu_kept_s"] == pytest.approx(row["container_s"] / 2)
    assert row["memory_kept_byte_s"] == pytest.approx(row["container_s"] * 512 * 2**20)
    assert 5 * 128 * 2**20 <= row["memory_byte_s"] <= lasted_s * 512 * 2**20
    assert row["gpu_s"] == 0
    shown = house.run("-m", "squall", "usage").stdout
    assert "taker" in shown
    db = open_reader(StatePaths(state=house.folder / "state").database)
    try:
        (busy,) = list_busy(db, call)
    finally:
        db.close()
    assert 7 <= busy.busy_s <= row["container_s"]
