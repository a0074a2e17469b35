"""Pages of documentation as something to run: their fenced blocks, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(
    r"(?:<!-- not run here: (?P<why>[^>]+) -->\s*\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of a page.

    title: the file that it shows, where it names one; skipped: why the tests leave it out, empty if they do not.
    """

    language: str
    title: str
    text: str
    line: int
    skipped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A line that a console block types, and the output that it shows."""

    line: str
    shown: str


def pages(root: Path = ROOT) -> list[Path]:
    """Every page that people read: those at the top and those below docs/."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md"), root / "bench" / "README.md"])


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page that name a language."""
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["text"].splitlines(keepends=True)]
        title = _TITLE.search(match["info"])
        yield Block(
            language=match["language"],
            title=title[1] if title else "",
            text="".join(lines),
            line=text.count("\n", 0, match.start("language")) + 1,
            skipped=(match["why"] or "").strip(),
        )


def commands(block: Block) -> list[Command]:
    """What a console block types, each with the lines that it shows until the next."""
    found: list[Command] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append(Command(line=line[2:].strip(), shown=""))
        elif found:
            found[-1] = Command(line=found[-1].line, shown=found[-1].shown + line)
    return found
