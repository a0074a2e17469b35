"""`squall secret`: everything that it prints, as a person sees it, and as JSON; and a change of the master key that is killed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(180)]

GOLDEN = Path(__file__).parent / "golden" / "secrets.txt"
_CHANGING = {
    r"(?<=  )\d+[smh]$": "AGE",
    r'(?<="created_s": )[\d.]+': "THEN",
    r"\b[0-9a-f]{16}\b": "KEY",
}
VALUES = ("first-canary", "second-canary", "third canary")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


def typed(terminal: Terminal, line: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell, in which `squall` is ours."""
    ours = f"{shlex.quote(sys.executable)} -m squall"
    return subprocess.run(
        ["/bin/sh", "-c", re.sub(r"\bsquall (?=secret|environment)", f"{ours} ", line)],
        env=terminal.environment(),
        cwd=terminal.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def transcript(terminal: Terminal) -> str:
    """The commands of the golden file, each with what it prints now, and its exit status where that is not 0."""
    told = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        if line.startswith("$ "):
            done = typed(terminal, line[2:])
            told.append(line)
            told += (done.stdout + done.stderr).splitlines()
            if done.returncode:
                told.append(f"(exit status {done.returncode})")
    said = "\n".join(told) + "\n"
    for pattern, word in _CHANGING.items():
        said = re.sub(pattern, word, said, flags=re.MULTILINE)
    return said


def test_the_commands_print_what_the_golden_file_says(terminal: Terminal) -> None:
    found = transcript(terminal)
    if os.environ.get("SQUALL_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")
    shown = [line for line in found.splitlines() if not line.startswith("$ ")]
    assert not [line for line in shown if "canary" in line]


def test_what_is_typed_at_a_prompt_is_not_shown(terminal: Terminal) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "squall", "secret", "create", "database", "PASSWORD", "USER"],
        env=terminal.environment(),
        cwd=str(terminal.folder),
        encoding="utf-8",
        timeout=60,
    )
    shown = ""
    for value in VALUES[:2]:
        child.expect("(PASSWORD|USER): ")
        shown += child.before + child.after
        child.sendline(value)
    child.expect(pexpect.EOF)
    shown += child.before
    child.close()
    assert child.exitstatus == 0, shown
    assert "created database: version 1 with PASSWORD, USER" in shown
    assert "canary" not in shown


@pytest.mark.parametrize("point", ["secret.key_added", "secret.rewrapped"])
def test_a_server_that_dies_while_the_master_key_changes_goes_on_with_it(
    terminal: Terminal, point: str
) -> None:
    terminal.environ["SQUALL_FAULT"] = f"server/{point}:2"
    done = typed(terminal, "echo first-canary | squall secret create database PASSWORD")
    assert done.returncode == 0, done
    key = terminal.state / "keys" / "master"
    done = typed(terminal, "squall secret rotate-key --json")
    assert json.loads(done.stdout)["rewrapped"] == 1
    before = key.read_text()
    died = typed(terminal, "squall secret rotate-key --json")
    assert died.returncode == 0, died
    assert json.loads(died.stdout)["key"] != json.loads(done.stdout)["key"]
    assert len(keys_in(key)) == 1
    assert key.read_text() != before
    assert (
        "died" in died.stderr or (terminal.state / "logs" / "supervisor.log").read_text().count("exit") >= 1
    )
    told = json.loads(typed(terminal, "squall secret list --json").stdout)
    assert [(row["name"], row["version"]) for row in told] == [("database", 1)]
    # It opens: what is added to it stands beside what was there.
    done = typed(terminal, "echo second-canary | squall secret update database USER --json")
    assert json.loads(done.stdout)["variables"] == ["PASSWORD", "USER"]


def keys_in(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
