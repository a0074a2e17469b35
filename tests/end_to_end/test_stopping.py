"""How a container ends when it is told to: a signal, its exit hooks, a grace, and then by force."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.conftest import House, eventually
from tests.linux import leaks

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(180)]
GRACE_S = 4.0

PROGRAM = """
import atexit, signal, subprocess, sys, time
import squall

app = squall.App("stopping")

@app.function(max_containers=1, name="polite")
def polite(how: str) -> None:
    atexit.register(lambda: print("HOOK atexit", flush=True))
    try:
        print("RUNS", flush=True)
        time.sleep(60)
    finally:
        time.sleep(float(how))
        print("HOOK finally", flush=True)

@app.function(max_containers=1, name="deaf")
def deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: print("HEARD", flush=True))
    child = subprocess.Popen([sys.executable, "-c", "import signal, time; "
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
    print("RUNS", child.pid, flush=True)
    while True:
        time.sleep(1)

if __name__ == "__main__":
    with app.run():
        call = polite.spawn(sys.argv[2]) if sys.argv[1] == "polite" else deaf.spawn()
        try:
            call.get(timeout=120)
        except Exception as error:
            print("ENDED", type(error).__name__, flush=True)
"""


@pytest.fixture(scope="module")
def graceful() -> Iterator[House]:
    """A house whose containers have GRACE_S to end."""
    folder = leaks.fresh_folder(prefix="squall-grace-")
    house = House(folder)
    house.environ |= {"SQUALL_STOP_GRACE_S": str(GRACE_S), "SQUALL_START_DEADLINE_S": "60"}
    try:
        yield house
    finally:
        done = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


def containers(house: House, function: str) -> list[dict[str, Any]]:
    rows = json.loads(house.run("-m", "squall", "container", "list", "--json").stdout)
    return [row for row in rows if row["function"] == function]


def stopped(house: House, *arguments: str) -> tuple[float, str]:
    """Seconds from the word to stop to the container's end, and what its program printed meanwhile."""
    client = house.start(str(house.program(PROGRAM)), *arguments)
    try:
        assert client.stdout is not None
        lines = [client.stdout.readline()]
        assert lines[0].startswith("RUNS"), lines
        (row,) = eventually(lambda: containers(house, arguments[0]))
        began = time.monotonic()
        house.run("-m", "squall", "container", "stop", row["id"])
        eventually(lambda: row["id"] not in {one["id"] for one in containers(house, arguments[0])})
        took = time.monotonic() - began
        # The input begins again in another container; what the first one said came before.
        while "RUNS" not in (line := client.stdout.readline()):
            assert line, lines
            lines.append(line)
        return took, "".join(lines)
    finally:
        client.kill()
        client.communicate(timeout=60)
        eventually(lambda: not containers(house, arguments[0]))


def test_a_container_that_is_stopped_runs_what_stands_in_finally_and_its_hooks(graceful: House) -> None:
    took, said = stopped(graceful, "polite", "0.2")
    assert "HOOK finally" in said
    assert "HOOK atexit" in said
    assert took < GRACE_S


def test_what_takes_longer_than_the_grace_is_ended_by_force(graceful: House) -> None:
    took, said = stopped(graceful, "polite", "60")
    assert "HOOK finally" not in said
    assert GRACE_S - 0.5 <= took < GRACE_S + 6


def test_one_that_hears_nothing_is_ended_with_all_its_processes_and_the_machine_goes_on(
    graceful: House,
) -> None:
    took, said = stopped(graceful, "deaf")
    assert "HEARD" in said
    assert GRACE_S - 0.5 <= took < GRACE_S + 6
