"""`squall app`, `function`, `container` and `environment`: what they print of a deployed app, as a person sees it and as JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing, wait_until

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

GOLDEN = Path(__file__).parent / "golden" / "apps.txt"
APP = """
import squall

app = squall.App("desk", tags={"team": "blue", "cost": "low"})


@app.function(env={"TOKEN": "hidden"}, max_containers=1, retries=2, timeout=60, scaledown_window=600)
def divide(number: int) -> float:
    print("dividing by", number)
    return 1 / number


@app.cls(min_containers=0, scaledown_window=600)
@squall.concurrent(max_inputs=3)
class Model:
    size: int = squall.parameter(default=1)

    @squall.method()
    def name(self) -> str:
        print("size", self.size)
        return f"model {self.size}"

    @squall.method()
    def letters(self):
        yield from "ab"
"""
CALLS = """
import squall

divide = squall.Function.from_name("desk", "divide")
Model = squall.Cls.from_name("desk", "Model")
print(list(divide.map([1, 2, 4])))
try:
    divide.with_options(retries=0, timeout=30).remote(0)
except ZeroDivisionError as error:
    print(error)
print(Model(size=2).name.spawn().get(timeout=60))
"""
# What differs from run to run, and what stands for it.
_CHANGING = {
    r"\b(ap|co|fc)-[0-9a-f]{32}": r"\1-" + "0" * 32,
    r"\[[0-9a-f]{6}\]": "[000000]",
    r"\b\d\d:\d\d:\d\d\b": "12:00:00",
    r'(?<="who": ")[^"]+': "ada@here",
    r"(?<=^by)( +)\S+$": r"\1ada@here",
    # How fast inputs come, in a table of functions.
    r"\d+\.\d(?= +\d+ +\d+$)": "0.0",
    r'("(?:client_pid|created|created_s|ended_s|since_s|ts|pid|launcher_pid|age_s|arrivals_per_s)": )[\d.]+': r"\g<1>0",
    r"\b\d+[sm]\b": "0s",
    r"\b\d+\.\d s\b": "0.0 s",
}


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


def said_by(terminal: Terminal, command: list[str]) -> tuple[str, int]:
    if command[0] == "python":
        done = subprocess.run(
            [terminal.python, str(terminal.write(CALLS, "calls.py"))],
            env=terminal.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr, done.returncode
    if command[1] == "deploy":
        command = [*command[:2], str(terminal.write(APP, "desk.py")), *command[3:]]
    if "CONTAINER" in command:
        (row,) = json.loads(
            terminal.squall("container", "list", "desk", "--function", "divide", "--json").out
        )[:1]
        command = [row["id"] if word == "CONTAINER" else word for word in command]
    said = terminal.squall(*command[1:], within_s=60)
    return said.out + said.err, said.status


def transcript(terminal: Terminal) -> str:
    """The commands of the golden file, each with what it prints now, and its exit status where that is not 0."""
    told = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        if not line.startswith("$ "):
            continue
        text, status = said_by(terminal, shlex.split(line[2:]))
        told += [line, *text.splitlines()]
        if status:
            told.append(f"(exit status {status})")
        if "python" in line:
            wait_until(lambda: is_quiet(terminal), within_s=30)
    said = "\n".join(told) + "\n"
    for pattern, word in _CHANGING.items():
        said = re.sub(pattern, word, said, flags=re.MULTILINE)
    return re.sub(r" {2,}", "  ", said)


def is_quiet(terminal: Terminal) -> bool:
    """Whether every container is ready and has nothing to do, and every call is on record."""
    rows = json.loads(terminal.squall("function", "stats", "desk", "divide", "--json").out)
    rows += json.loads(terminal.squall("function", "stats", "desk", "Model", "--json").out)
    return all(row["containers"] == row["idle"] and not row["calls"] for row in rows) and (
        sum(row["recent"]["calls"] for row in rows) == 3
    )


def test_containers_are_listed_by_their_app_and_function(terminal: Terminal) -> None:
    assert said_by(terminal, ["squall", "deploy", "desk.py"])[1] == 0
    assert said_by(terminal, ["python", "calls.py"])[1] == 0

    def listed(*arguments: str) -> set[str]:
        rows = json.loads(terminal.squall("container", "list", *arguments, "--json").out)
        assert all(
            (row["app_name"], row["environment"], row["version"]) == ("desk", "main", 1) for row in rows
        )
        return {re.split("[~@]", row["function"])[0] for row in rows}

    assert listed() == listed("desk") == listed("--env", "main") == {"divide", "Model"}
    assert listed("--function", "Model") == {"Model"}
    assert listed("nothing") == listed("--env", "staging") == set()


def test_a_deploy_goes_on_showing_what_its_app_prints(terminal: Terminal) -> None:
    streaming = subprocess.Popen(
        [terminal.python, "-m", "squall", "deploy", str(terminal.write(APP, "desk.py")), "--stream-logs"],
        env=terminal.environment(PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with streaming:
        assert streaming.stdout is not None
        assert streaming.stdout.readline() == "desk: version 1 serves: Model, divide\n"
        assert said_by(terminal, ["python", "calls.py"])[1] == 0
        shown: list[str] = []
        while len(shown) < 5:
            shown.append(re.sub(r"^.*\] ", "", streaming.stdout.readline().strip()))
        assert sorted(shown) == ["dividing by 0", "dividing by 1", "dividing by 2", "dividing by 4", "size 2"]
        streaming.send_signal(signal.SIGINT)
        assert streaming.wait(20) == 130
    assert json.loads(terminal.squall("app", "info", "desk", "--json").out)["app"]["state"] == "serving"


def test_the_commands_print_what_the_golden_file_says(terminal: Terminal) -> None:
    found = transcript(terminal)
    if os.environ.get("SQUALL_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")
    # Values of variables may be secrets, and are told nobody.
    assert "TOKEN" in found
    assert "hidden" not in found
