"""The screen: tables, JSON and errors, as a terminal or a pipe wants them."""

import errno
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import click

from squall.model.errors import DiskFull, Error, TooManyFiles

# The least that is left of a table's last column on a narrow terminal: it is broken into lines.
_LAST_COLUMN = 24


def coloured(stream: TextIO) -> bool:
    """Whether colour may be used: on a terminal, where NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def plain(text: object) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    return "".join(char if char.isprintable() else _escaped(char) for char in str(text))


def say(text: str, *, style: str = "", err: bool = False) -> None:
    """One line, coloured where that is wanted."""
    stream = sys.stderr if err else sys.stdout
    click.echo(click.style(text, fg=style) if style and coloured(stream) else text, err=err, color=True)


def say_wrapped(text: str, *, style: str = "", err: bool = False, hang: int = 4) -> None:
    """One line; on a terminal that is narrower, broken between words, later parts indented by `hang` columns."""
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns
    if stream.isatty() and len(text) > width > hang + 10:
        parts = textwrap.wrap(
            text, width, subsequent_indent=" " * hang, drop_whitespace=True, break_on_hyphens=False
        )
    else:
        parts = [text]
    for part in parts:
        say(part, style=style, err=err)


def say_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def say_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Rows under their columns' names; the line `empty` where there is none."""
    cells = [[plain("" if row.get(name) is None else row[name]) for name in columns] for row in rows]
    if not cells:
        say(empty)
        return
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(columns)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sum(widths) + 2 * len(widths)
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    if before + min(widths[-1], _LAST_COLUMN) > room:
        _say_records(cells, columns)
        return
    head = "  ".join(name.upper().ljust(width) for name, width in zip(columns, widths, strict=True))
    say(head.rstrip(), style="bright_black")
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        say_wrapped(line, hang=before)


def _say_records(cells: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    """Rows that no line of this terminal can hold: the first cell, and the others below it by their names."""
    for row in cells:
        say(row[0])
        others = ", ".join(f"{name} {cell}" for name, cell in zip(columns[1:], row[1:], strict=True) if cell)
        say_wrapped(f"  {others}", hang=2)


def say_error(problem: BaseException) -> bool:
    """Whether `problem` has a name and was printed: what, why, and what to do."""
    named = _named(problem)
    if named is None:
        return False
    first, *more = str(named).splitlines() or [""]
    say_wrapped(f"error[{named.code}]: {plain(first)}", style="red", err=True)
    for line in more:
        say_wrapped(plain(line), err=True)
    say_wrapped(f"  what to do: {plain(named.remedy)}", err=True)
    say(f"  more: squall explain {named.code}", style="bright_black", err=True)
    return True


def age(seconds: float) -> str:
    """A length of time for people: 12s, 3m, 4h, 2d."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def _named(problem: BaseException) -> Error | None:
    """`problem` as an error with a code: its own, or that of what this machine ran out of; None where it has none."""
    if isinstance(problem, Error):
        return problem
    match problem:
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            place = f" ({problem.filename})" if problem.filename else ""
            return DiskFull(
                f"the disk is full{place}",
                remedy="free some space; `squall status` names the state directory",
            )
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return TooManyFiles("too many files are open", remedy="raise the limit with `ulimit -n`")
        case _:
            return None


def _escaped(char: str) -> str:
    return " " if char == "\t" else char.encode("unicode_escape").decode()
