"""A slow start says where its time went: in the exception, and in the function's log."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import House
from tests.linux import leaks


@pytest.fixture
def impatient() -> Iterator[House]:
    """A house where a start of two seconds is a slow one."""
    folder = leaks.fresh_folder(prefix="squall-slow-")
    house = House(folder)
    house.environ["SQUALL_SLOW_START_S"] = "2"
    try:
        yield house
    finally:
        down = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert down.returncode == 0, down.stderr


def test_a_slow_start_says_in_its_exception_and_in_the_log_where_the_time_went(impatient: House) -> None:
    program = impatient.program(
        """
import squall, time
app = squall.App("slow-starts")
if not squall.is_local():
    time.sleep(3)

@app.function(startup_timeout=1)
def never() -> None: ...

@app.function()
def slow() -> None: ...

if __name__ == "__main__":
    with app.run() as running:
        try:
            never.remote()
        except Exception as error:
            print(error)
        slow.remote()
"""
    )
    done = impatient.run(str(program))
    log = impatient.run("-m", "squall", "logs", "slow-starts")
    phases = r"it was started as '(parked|exec)' \(.+\): (.*, )?runner [\d.]+ m?s"
    loading = r"then [\d.]+ m?s in your code's imports"
    assert re.match(
        rf"never was not ready within 1 s: {phases}, {loading} and it has not said", done.stdout
    ), done
    (line,) = [one for one in log.stdout.splitlines() if "the start of" in one]
    assert re.search(rf"squall: the start of co-\w+ took [\d.]+ s: {phases}, {loading}$", line), log.stdout
