"""`squall dict` and `squall queue`: everything that they print, as a person sees it, and as JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import squall
from tests.end_to_end.conftest import House
from tests.end_to_end.terminal import Said, Terminal, fresh_folder, leave_nothing

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(180)]

GOLDEN = Path(__file__).parent / "golden" / "sharing.txt"
# What differs from run to run.
_CHANGING = {
    r"(?<=B  )\d+[sm]\b": "AGE",
    r"\b\d+ bytes, holds code": "SOME bytes, holds code",
    r"(?<=6    )\d+ B": "SIZE",
}
FILL = """
import datetime
import ipaddress
import squall


class Point:
    pass


scores = squall.Dict.from_name("scores")
scores["ada"] = 3
scores["user", 17] = {"name": "Grace", "tags": ["a", "b"], "since": datetime.date(2026, 1, 31)}
scores["point"] = Point()
scores["address"] = ipaddress.ip_address("10.0.0.1")
scores["long"] = "x" * 200
scores["wild\\x1b[31m"] = "two\\nlines"
work = squall.Queue.from_name("work")
work.put_many([1, "two", {"three": 3.0}])
work.put([ipaddress.ip_address("10.0.0.1")], partition="eu")
"""


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


def filled(terminal: Terminal) -> Said:
    """Runs the program that fills them."""
    done = subprocess.run(
        [terminal.python, str(terminal.write(FILL, "fill.py"))],
        env=terminal.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Said(status=done.returncode, out=done.stdout, err=done.stderr, took_s=0.0)


def transcript(terminal: Terminal) -> str:
    """The commands of the golden file, each with what it prints now, and its exit status where that is not 0."""
    told = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        if not line.startswith("$ "):
            continue
        command = shlex.split(line[2:])
        done = filled(terminal) if command[0] == "python" else terminal.squall(*command[1:])
        told.append(line)
        told += (done.out + done.err).splitlines()
        if done.status:
            told.append(f"(exit status {done.status})")
    said = "\n".join(told) + "\n"
    for pattern, word in _CHANGING.items():
        said = re.sub(pattern, word, said)
    return said


def test_the_commands_print_what_the_golden_file_says(terminal: Terminal) -> None:
    found = transcript(terminal)
    if os.environ.get("SQUALL_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")


def test_who_waits_is_listed_with_what_for(at_home: House) -> None:
    work = squall.Queue.objects.create("waited-at")
    waiting = threading.Thread(target=work.get, kwargs={"timeout": 60})
    waiting.start()
    try:
        rows: list[dict[str, Any]] = []
        while not any(row["waiting"]["items"] for row in rows):
            said = at_home.run("-m", "squall", "queue", "list", "--json")
            rows = [row for row in json.loads(said.stdout) if row["name"] == "waited-at"]
        said = at_home.run("-m", "squall", "queue", "list")
        assert re.search(r"^waited-at .* 1 for items$", said.stdout, re.MULTILINE), said
    finally:
        work.put(None)
        waiting.join(60)
        squall.Queue.objects.delete("waited-at")
