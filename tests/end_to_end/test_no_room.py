"""A server that has room for little: who waits for an outcome waits for room too, and who does not is refused at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import House
from tests.linux import leaks

PROGRAM = """
import squall, threading, time
app = squall.App("no-room")

@app.function(max_containers=1)
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds

@app.function(max_containers=2)
def size(data: bytes) -> int:
    return len(data)

if __name__ == "__main__":
    with app.run():
        BODY
"""


@pytest.fixture(scope="module")
def small() -> Iterator[House]:
    """A house with room for 4 waiting inputs of a function and 1 MiB of all."""
    folder = leaks.fresh_folder(prefix="squall-small-")
    house = House(folder)
    house.environ |= {"SQUALL_PENDING_INPUTS": "4", "SQUALL_PENDING_BYTES": str(2**20)}
    try:
        yield house
    finally:
        done = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


def said(house: House, body: str) -> str:
    lines = ("\n" + " " * 8).join(body.strip().splitlines())
    done = house.run(str(house.program(PROGRAM.replace("BODY", lines))))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_map_that_is_larger_than_all_the_room_there_is_comes_to_its_end_in_order(small: House) -> None:
    body = """
inputs = [bytes(4000 + number) for number in range(3000)]
assert list(size.map(inputs)) == [4000 + number for number in range(3000)]
print("all")
"""
    assert said(small, body) == "all\n"


def test_more_calls_at_once_than_there_is_room_for_all_get_their_value(small: House) -> None:
    body = """
found = []
def one() -> None:
    found.append(nap.remote(0.05))
threads = [threading.Thread(target=one) for _ in range(30)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(found == [0.05] * 30)
"""
    assert said(small, body) == "True\n"


def test_a_spawn_is_refused_at_once_and_told_when_to_come_again(small: House) -> None:
    body = """
nap.remote(0.0)
refused = None
calls = []
while refused is None:
    try:
        calls.append(nap.spawn(0.3))
    except squall.model.errors.TooManyInputs as error:
        refused = error
print(len(calls) >= 4, 0.1 <= refused.retry_after_s <= 30, refused.limit, refused.code)
time.sleep(refused.retry_after_s)
print(squall.FunctionCall.gather(*calls) == [0.3] * len(calls))
"""
    assert said(small, body) == "True True 4 SQ-1310\nTrue\n"
