"""`squall volume`: everything that it prints, as a person sees it, and as JSON."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(240)]

GOLDEN = Path(__file__).parent / "golden" / "volumes.txt"
# What differs from run to run.
_CHANGING = {
    r"\b\d+[smhd]\b *": "AGE ",
    r'[^\s"]+@[^\s",]+': "WHO",
    r"BY +WHY": "BY WHY",
    r"WHO +": "WHO ",
    r'("(?:made_s|mtime_s|created_s|changed_s)": )[0-9.]+': r"\1SOME",
    r"/tmp/\S+/in/": "IN/",
    r" +$": "",
}


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


@pytest.fixture
def files(terminal: Terminal) -> Path:
    """A few files of this machine, in the directory that the commands are run in."""
    root = terminal.folder / "in"
    (root / "set" / "deep").mkdir(parents=True)
    (root / "set" / "a.txt").write_text("first\n")
    (root / "set" / "run.sh").write_text("#!/bin/sh\n")
    (root / "set" / "deep" / "b.bin").write_bytes(bytes(2048))
    for path in (root / "set", root / "set" / "deep"):
        path.chmod(0o755)
    for path in (root / "set" / "a.txt", root / "set" / "deep" / "b.bin"):
        path.chmod(0o644)
    (root / "set" / "run.sh").chmod(0o755)
    (root / "set" / "latest").symlink_to("deep/b.bin")
    return root


def said(terminal: Terminal, command: str, folder: Path) -> list[str]:
    """What a line of the golden file prints now, and its exit status where that is not 0."""
    done = subprocess.run(
        [terminal.python, "-m", "squall", *shlex.split(command)[1:]],
        env=terminal.environment(),
        cwd=folder,
        input="from standard input",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = (done.stdout + done.stderr).splitlines()
    return [*told, f"(exit status {done.returncode})"] if done.returncode else told


def test_the_commands_print_what_the_golden_file_says(terminal: Terminal, files: Path) -> None:
    told: list[str] = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        if line.startswith("$ squall "):
            told += [line, *said(terminal, line[2:], files)]
    found = "\n".join(told) + "\n"
    for pattern, word in _CHANGING.items():
        found = re.sub(pattern, word, found, flags=re.MULTILINE)
    if os.environ.get("SQUALL_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")
    got = files / "out"
    assert (got / "a.txt").read_text() == "first\n"
    assert (got / "deep" / "b.bin").read_bytes() == bytes(2048)
    assert (got / "latest").readlink() == Path("deep/b.bin")
    assert (got / "run.sh").stat().st_mode & 0o777 == 0o755
    assert not list(files.rglob(".squall-*"))
