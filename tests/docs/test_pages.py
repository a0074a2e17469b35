"""Every Python and console block of the documentation runs, and shows what the page says it shows."""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs import pages

# Pages whose blocks show a line or two of a program, not one that runs.
FRAGMENTS = pages.ROOT / "docs" / "errors"

WITH_BLOCKS = [
    page
    for page in pages.pages()
    if page.parent != FRAGMENTS
    and any(
        block.language in {"python", "console"} and not block.skipped
        for block in pages.blocks(page.read_text(encoding="utf-8"))
    )
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody who follows a page: a folder, and an environment with `squall` and a state directory of its own."""

    folder: Path
    environ: dict[str, str]

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder, programs = tmp_path / "page", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    # Not a link: behind one, the interpreter would not find its environment.
    for name, arguments in (("python", ""), ("squall", "-m squall")):
        command = programs / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
    shutil.copytree(
        pages.ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__")
    )
    environ = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(pages.ROOT / "src"),
        "SQUALL_STATE_DIR": str(tmp_path / "state"),
        "NO_COLOR": "1",
    }
    found = Reader(folder=folder, environ=environ)
    yield found
    found.types("squall down --force")


@pytest.mark.needs("linux")
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.relative_to(pages.ROOT).as_posix())
def test_a_page_does_what_it_says(page: Path, reader: Reader) -> None:
    for block in pages.blocks(page.read_text(encoding="utf-8")):
        if block.skipped:
            continue
        where = f"{page.name}:{block.line}"
        if block.language == "console":
            for command in pages.commands(block):
                ended = reader.types(command.line)
                assert ended.returncode == 0, f"{where}: {command.line}\n{ended.stdout}"
                assert shows(ended.stdout, command.shown), f"{where}: {command.line}\n{ended.stdout}"
        elif block.language == "python" and block.title:
            target = reader.folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            (reader.folder / "snippet.py").write_text(block.text, encoding="utf-8")
            ended = reader.types(f'"{sys.executable}" snippet.py')
            assert ended.returncode == 0, f"{where}\n{ended.stdout}"


def test_fragments_are_python() -> None:
    for page in FRAGMENTS.glob("*.md"):
        for block in pages.blocks(page.read_text(encoding="utf-8")):
            if block.language == "python":
                compile(block.text, f"{page.name}:{block.line}", "exec")


def test_blocks_are_found_with_their_titles_and_lines() -> None:
    text = 'a\n```python title="x.py"\nb = 1\n```\n<!-- not run here: needs a moon -->\n```console\n$ c\nd\n```\n'
    first, second = pages.blocks(text)
    assert (first.title, first.text, first.line, first.skipped) == ("x.py", "b = 1\n", 2, "")
    assert (second.language, second.skipped) == ("console", "needs a moon")
    assert pages.commands(second) == [pages.Command(line="c", shown="d\n")]


@pytest.mark.parametrize(
    ("said", "shown", "fits"),
    [
        ("a\nb\n", "", True),
        ("a\nb\n", "a\n...\n", True),
        ("a 12 b\n", "a ... b\n", True),
        ("a\n", "b\n", False),
    ],
)
def test_output_is_compared_with_dots_for_anything(said: str, shown: str, *, fits: bool) -> None:
    assert shows(said, shown) is fits


def shows(said: str, shown: str) -> bool:
    """Whether the output is what the page shows; three dots stand for anything, nothing shown for any output."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return not shown or doctest.OutputChecker().check_output(shown, said, flags)
