"""Descriptors of the server, the agent and the supervisor: as many after many runs as after one."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing, wait_until
from tests.linux.leaks import descriptors

pytestmark = pytest.mark.needs("linux")

_PROGRAM = """
import squall

app = squall.App("counts")

@app.function()
def double(x):
    print("doubling", x)
    if x == 2:
        raise ValueError(x)
    return bytes(3 << 20) if x == 3 else 2 * x

@app.local_entrypoint()
def main():
    for x in range(4):
        try:
            double.remote(x)
        except ValueError:
            pass
    list(double.map([4, 5, 6]))
"""


def test_runs_leave_the_descriptors_of_those_that_stay_as_they_were() -> None:
    terminal = Terminal(folder=fresh_folder())
    try:
        assert terminal.run(_PROGRAM).status == 0
        before = settled(terminal)
        for _ in range(3):
            assert terminal.run(_PROGRAM).status == 0
        wait_until(
            lambda: not grown(before, look(terminal)),
            within_s=15,
            why=lambda: grown(before, look(terminal)),
        )
    finally:
        leave_nothing(terminal)


def look(terminal: Terminal) -> dict[str, Counter[str]]:
    """What each of them has open, by its kind."""
    record = json.loads((terminal.state / "run" / "supervisor.json").read_text())
    pids = {name: member["pid"] for name, member in record["members"].items()}
    pids["supervisor"] = record["supervisor"]["pid"]
    return {name: Counter(descriptors(pid)) for name, pid in pids.items()}


def settled(terminal: Terminal) -> dict[str, Counter[str]]:
    """The same, once two looks in a row see the same: what belongs to a run that is over is being closed."""
    seen = [look(terminal)]

    def stands() -> bool:
        seen.append(look(terminal))
        return len(seen) > 20 and all(one == seen[-1] for one in seen[-20:])

    wait_until(stands, within_s=20)
    return seen[-1]


def grown(before: dict[str, Counter[str]], after: dict[str, Counter[str]]) -> dict[str, Counter[str]]:
    """What there is more of."""
    return {name: more for name, kinds in after.items() if (more := kinds - before[name])}
