"""`squall usage` and `squall budget`: everything that they print of what is on record, as a person sees it, and as JSON."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.model.ids import CallId, ContainerId, FunctionId
from squall.model.usage import DAY_S, Labels, day_of
from squall.settings.paths import open_state
from squall.state.records import BusyRecord, ContainerRecord
from squall.state.sqlite_state import SqliteState
from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing, wait_until

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(180)]

GOLDEN = Path(__file__).parent / "golden" / "costs.txt"
PRICES = 'currency = "EUR"\ncore_second = 0.001\ngib_second = 0.0001\n[gpu_second]\nH100 = 0.5\n'
_CHANGING = {
    r"\d{4}-\d\d-\d\d( \d\d:\d\d)?": "DATE",
    r'(?<=_s": )\d{9,}(\.\d+)?': "INSTANT",
    r'(?<=price_file": ")[^"]*': "FILE",
}


def ran(number: int, function: str, app: str, *, gpus: str = "", team: str = "") -> ContainerRecord:
    """A container that was there for a hundred seconds today, by whatever time it is."""
    ended_s = max(time.time(), day_of(time.time()) * DAY_S + 101.0) - 0.5
    return ContainerRecord(
        id=ContainerId(f"co-{number}"),
        function=FunctionId(f"ap-{app}/{function}"),
        started_s=ended_s - 100.0,
        ended_s=ended_s,
        cpu_s=20.0 * number,
        cpu_kept_s=50.0,
        memory_byte_s=300.0 * 2**30,
        memory_kept_byte_s=100.0 * 2**30,
        gpu_s=100.0 if gpus else 0.0,
        gpu_type=gpus,
        labels=Labels.of("main", app, function, {"team": team} if team else {}),
    )


async def fill(path: Path) -> None:
    store = await SqliteState.open(path)
    store.history(
        [
            ran(1, "step", "train", gpus="H100", team="vision"),
            ran(2, "step", "train", gpus="B200", team="vision"),
            ran(3, "answer", "chat", team="language"),
            ran(4, "clean", "jobs"),
            BusyRecord(
                container=ContainerId("co-1"), call=CallId("fc-1"), since_s=0.0, at_s=1.0, busy_s=60.0
            ),
            BusyRecord(
                container=ContainerId("co-4"), call=CallId("fc-2"), since_s=0.0, at_s=1.0, busy_s=25.0
            ),
        ]
    )
    await store.close()


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    paths = open_state(terminal.state)
    asyncio.run(fill(paths.database))
    paths.prices.write_text(PRICES, encoding="utf-8")
    assert terminal.squall("up").status == 0
    yield terminal
    leave_nothing(terminal)


def transcript(terminal: Terminal) -> str:
    """The commands of the golden file, each with what it prints now, and its exit status where that is not 0."""
    told = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        if line.startswith("$ "):
            done = terminal.squall(*shlex.split(line[2:])[1:])
            told += [line, *(done.out + done.err).splitlines()]
            told += [f"(exit status {done.status})"] if done.status else []
    said = "\n".join(told) + "\n"
    for pattern, word in _CHANGING.items():
        said = re.sub(pattern, word, said)
    return said


def test_the_commands_print_what_the_golden_file_says(terminal: Terminal) -> None:
    found = transcript(terminal)
    if os.environ.get("SQUALL_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")


def test_a_table_that_is_none_is_said_and_the_one_before_it_holds(terminal: Terminal) -> None:
    prices = terminal.state / "prices.toml"
    prices.write_text(PRICES + "L4 = -1\n", encoding="utf-8")
    wait_until(lambda: "gpu_second.L4" in terminal.squall("usage", "summary").err, within_s=10)
    assert "EUR" in terminal.squall("usage", "report").out
    prices.unlink()
    wait_until(lambda: "no prices" in terminal.squall("usage", "summary").out, within_s=10)
    terminal.squall("budget", "set", "5").is_error("SQ-1046", "prices.toml")
    assert "AMOUNT" not in terminal.squall("usage", "report").out


RESTARTED = """
import squall, time
app = squall.App("resting")

@app.function(max_containers=1, cpu=0.1)
def one(value: int) -> int:
    time.sleep(1)
    return value
"""


def test_a_budget_that_is_used_up_holds_over_a_restart_and_so_does_what_waits(terminal: Terminal) -> None:
    program = terminal.write(RESTARTED, "resting.py")
    assert terminal.squall("deploy", str(program), within_s=60).status == 0
    spawned = terminal.write(
        "import squall\none = squall.Function.from_name('resting', 'one')\n"
        "print(*[one.spawn(value).object_id for value in range(5)])\n"
    )
    calls = _python(terminal, spawned).split()
    limit = ("--app", "resting", "--unit", "seconds")
    assert terminal.squall("budget", "set", "0", *limit).status == 0
    assert terminal.squall("down", within_s=60).status == 0
    assert terminal.squall("up", within_s=60).status == 0
    wait_until(lambda: "budget_reached" in terminal.squall("status", "--json").out, within_s=20)
    refused = terminal.write(
        "import squall\nfrom squall.model.errors import BudgetReached\n"
        "try:\n    squall.Function.from_name('resting', 'one').remote(1)\n"
        "except BudgetReached as error:\n    print(error.code)\n"
    )
    assert _python(terminal, refused) == "SQ-1049"
    assert terminal.squall("budget", "remove", *limit).status == 0
    fetched = terminal.write(
        f"import squall\nprint([squall.FunctionCall.from_id(one).get(timeout=60) for one in {calls!r}])\n"
    )
    assert _python(terminal, fetched) == "[0, 1, 2, 3, 4]"
    assert terminal.squall("app", "stop", "resting", within_s=60).status == 0


def _python(terminal: Terminal, program: Path) -> str:
    done = subprocess.run(
        [terminal.python, str(program)],
        env=terminal.environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
