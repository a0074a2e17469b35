"""Large arguments in memory that is filled again: what a function keeps, writes to or hands to a fork stays its own.

Memory views, of all types, are not copied by the far side.
"""

from __future__ import annotations

from typing import Any

import pytest

PROGRAM = """
import os
import time
import squall

app = squall.App("lent")
SIZE = 5_000_000
kept = []

@app.function(max_containers=1)
def look(data, how="read"):
    view = memoryview(data)
    if how == "keep":
        kept.append(view[:10])
    if how == "write":
        view[0] = view[0] + 100
    if how == "raise":
        raise ValueError("on purpose")
    if how == "fork":
        read, write = os.pipe()
        kept.append(read)
        if not os.fork():
            time.sleep(0.5)
            os.write(write, bytes([view[0]]))
            os._exit(0)
    return view[0], view[-1], view.nbytes

@app.function(max_containers=1)
def look_and_remember(data, how="read"):
    return look.local(data, how), [bytes(one[:1])[0] for one in kept if not isinstance(one, int)]

@app.function(max_containers=1)
def look_and_wait(data, how="read"):
    found = look.local(data, how)
    return found, [os.read(one, 1)[0] for one in kept] if how == "wait" else []
"""

MAIN = """
@app.local_entrypoint()
def main():
    for number in range(1, 9):
        print(CALL)
"""


def run(house: Any, body: str) -> list[str]:
    done = house.run("-m", "squall", "run", "-q", str(house.program(PROGRAM + body)))
    assert done.returncode == 0, done.stderr
    return list(done.stdout.splitlines())


@pytest.mark.parametrize("how", ["read", "write"])
def test_each_call_sees_its_own_argument(house: Any, how: str) -> None:
    call = f'look.remote(memoryview(bytearray([number]) * (SIZE - number)), "{how}")'
    added = 100 if how == "write" else 0
    assert run(house, MAIN.replace("CALL", call)) == [
        str((number + added, number, 5_000_000 - number)) for number in range(1, 9)
    ]


def test_what_a_function_keeps_of_an_argument_does_not_change(house: Any) -> None:
    call = 'look_and_remember.remote(memoryview(bytearray([number]) * SIZE), "keep" if number % 2 else "read")[1]'
    assert run(house, MAIN.replace("CALL", call)) == [
        str([one for one in range(1, number + 1) if one % 2]) for number in range(1, 9)
    ]


def test_what_a_fork_of_a_function_sees_does_not_change(house: Any) -> None:
    call = 'look_and_wait.remote(memoryview(bytearray([number]) * SIZE), {1: "fork", 8: "wait"}.get(number, "read"))[1]'
    assert run(house, MAIN.replace("CALL", call))[-1] == "[1]"


def test_a_call_after_one_that_raised_sees_its_own_argument(house: Any) -> None:
    body = """
@app.local_entrypoint()
def main():
    for number in range(1, 7):
        try:
            print(look.remote(memoryview(bytearray([number]) * SIZE), "raise" if number % 2 else "read")[0])
        except ValueError as error:
            print(error)
"""
    assert run(house, body) == ["on purpose", "2", "on purpose", "4", "on purpose", "6"]
