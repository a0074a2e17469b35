"""The generated part of the page on security: what hostile code tries in a container, and what comes of it."""

from __future__ import annotations

from typing import assert_never, get_args

from squall.runtime.spec import Level
from tests.linux.hostile.catalogue import CATALOGUE, ELSEWHERE, NOT_TRIED
from tests.linux.hostile.probe import Expected, NotStopped, OnHost, Stopped

BEGIN = "<!-- made by scripts/reference.py from tests/linux/hostile/catalogue.py; edit that instead -->"
END = "<!-- end of what is made -->"


def security_page(text: str) -> str:
    """The page with its table as the catalogue has it now. Raises ValueError for a page without a place for it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table, between {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{_table()}\n{END}{after}"


def _table() -> str:
    levels: tuple[str, ...] = get_args(Level)
    lines = [
        "| what is tried | " + " | ".join(f"`{level}`" for level in levels) + " |",
        "|---|" + "---|" * len(levels),
    ]
    for probe in CATALOGUE:
        cells = [_told(probe.at(level)) for level in levels]
        lines.append(f"| {probe.id}: {probe.title} | {' | '.join(cells)} |")
    lines += ["", "Tried by a test of its own:", ""]
    lines += [f"- {row.id}: {row.title}: `{row.test.partition('::')[0]}`" for row in ELSEWHERE]
    lines += ["", "Not tried:", ""]
    lines += [f"- {row.id}: {row.title}: {row.why}" for row in NOT_TRIED]
    return "\n".join(lines) + "\n"


def _told(expected: Expected) -> str:
    match expected:
        case Stopped():
            return "stopped"
        case NotStopped(says=says):
            return f"**not stopped**: “{says}”"
        case OnHost():
            return "the host shows nothing of it"
        case _:
            assert_never(expected)
