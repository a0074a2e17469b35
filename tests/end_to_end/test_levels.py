"""Functions at each isolation level: the same calls, the same answers, and a refusal by name where there is no such level."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing
from tests.end_to_end.test_host_rows import REFUSED

pytestmark = pytest.mark.needs("linux", "namespaces")

PROGRAM = """
import json, os, subprocess, sys, time
import squall
from squall.model.errors import Error

app = squall.App("levels")
LEVEL = os.environ.get("LEVEL", "sandbox")

@app.function(level=LEVEL)
def add(a, b):
    print("adding", a, "and", b)
    os.write(2, b"raw words\\n")
    return a + b

@app.function(level=LEVEL)
def fails():
    raise ValueError("as asked")

@app.function(level=LEVEL)
def counts(n):
    yield from range(n)

@app.function(level=LEVEL)
def asks(x):
    return add.remote(x, 1) * 10

@app.function(level=LEVEL)
def turns(data):
    return data[::-1]

@app.function(level=LEVEL, memory=(64, 256))
def hoards():
    kept = []
    while True:
        kept.append(bytearray(1 << 20))

@app.function(level=LEVEL, timeout=1, max_containers=1)
def sleeps():
    time.sleep(60)

@app.local_entrypoint()
def main():
    found = {"add": add.remote(1, 2)}
    try:
        fails.remote()
    except ValueError as raised:
        found["raised"] = [str(raised), raised.__traceback__ is not None]
    found["items"] = list(counts.remote_gen(5))
    found["nested"] = asks.remote(4)
    data = os.urandom(5_000_000)
    found["large"] = [turns.remote(data) == data[::-1] for _ in range(2)]
    found["map"] = sum(add.map(range(50), range(50)))
    for name, function in (("memory", hoards), ("time", sleeps)):
        try:
            function.remote()
        except Error as ended:
            found[name] = type(ended).__name__
    listed = subprocess.run(
        [sys.executable, "-m", "squall", "container", "list", "--json"], capture_output=True, text=True, check=True
    )
    found["levels"] = sorted({row["level"] for row in json.loads(listed.stdout) if row["level"]})
    print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    folder = fresh_folder()
    one = Terminal(folder=folder)
    yield one
    leave_nothing(one)


@pytest.mark.parametrize(
    "level",
    [
        "process",
        "sandbox",
        "sandbox-strict",
        pytest.param("crun", marks=pytest.mark.needs("crun")),
        pytest.param("runc", marks=pytest.mark.needs("runc")),
        pytest.param("gvisor", marks=pytest.mark.needs("runsc")),
    ],
)
def test_a_function_does_the_same_at_every_level(terminal: Terminal, level: str) -> None:
    said = terminal.run(PROGRAM, within_s=150, LEVEL=level)
    assert said.status == 0, said
    line = next(line for line in said.out.splitlines() if line.startswith("FOUND "))
    found = json.loads(line.removeprefix("FOUND "))
    assert found == {
        "add": 3,
        "raised": ["as asked", True],
        "items": [0, 1, 2, 3, 4],
        "nested": 50,
        "large": [True, True],
        "map": 2450,
        "memory": "OutOfMemory",
        "time": "FunctionTimeout",
        "levels": [level],
    }
    assert "adding 1 and 2" in said.out
    assert "raw words" in said.err
    assert ("nothing else is kept apart" in said.err) == (level == "process"), said.err


def test_a_level_that_nobody_has_is_refused_where_it_is_declared(terminal: Terminal) -> None:
    said = terminal.run(PROGRAM, LEVEL="virtual-machine")
    assert said.status == 1
    assert "error[SQ-1010]" in said.err
    assert "'gvisor', not 'virtual-machine'" in said.err


@pytest.mark.parametrize("level", ["sandbox-strict", "crun", "gvisor"])
def test_a_machine_that_cannot_give_a_level_says_why_at_once_and_takes_no_weaker_one(level: str) -> None:
    terminal = Terminal(folder=fresh_folder(), wrapper=REFUSED)
    try:
        said = terminal.run(PROGRAM, within_s=60, LEVEL=level)
        said.is_error("SQ-1701", f"`{level}`", "namespaces", "It gives process")
        assert "adding" not in said.out
    finally:
        leave_nothing(terminal)
