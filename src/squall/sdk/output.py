"""Output: the progress of maps shown while a block runs, on a terminal, in a notebook, or as lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import Any, TextIO

from squall.context.current import in_container
from squall.sdk.map_progress import (
    LINE_EVERY_S,
    MapSeen,
    ShowsMaps,
    bar_line,
    begin_showing,
    end_showing,
    ended_in_words,
    in_words,
    is_showing,
)
from squall.sdk.status_line import StatusLine, is_lively


@contextmanager
def enable_output(*, show_progress: bool = True) -> Iterator[None]:
    """Within the block, maps show how far they are: as a bar on a terminal and in a notebook, else in lines, some seconds apart.

    What containers print is shown in any case, with or without it. `squall run` shows all of it by itself. Bars and lines go to
    stderr. show_progress: False shows none, also within another block that does.
    """
    if in_container() is not None or (show_progress and is_showing()):
        yield
        return
    shower: ShowsMaps = _best() if show_progress else Silence()
    begin_showing(shower)
    try:
        yield
    finally:
        end_showing(shower)
        if isinstance(shower, TerminalBars):
            shower.close()


class Silence:
    """Shows nothing."""

    def maps(self, running: Sequence[MapSeen], ended: MapSeen | None) -> None:
        """See ShowsMaps."""


class Lines:
    """Shows a line every few seconds while there is something new, and one at the end of a map that had some."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._told = ToldLines()

    def maps(self, running: Sequence[MapSeen], ended: MapSeen | None) -> None:
        """See ShowsMaps."""
        for line in self._told.lines(running, ended, now_s=time.monotonic()):
            print(line, file=self._stream or sys.stderr, flush=True)


class ToldLines:
    """Which lines are due, after what was told before."""

    def __init__(self) -> None:
        self._last_s: float | None = None

    def lines(self, running: Sequence[MapSeen], ended: MapSeen | None, *, now_s: float) -> list[str]:
        """The lines to be printed at an instant. A map that took less than `LINE_EVERY_S` has none."""
        found: list[str] = []
        if ended is not None and ended.took_s >= LINE_EVERY_S:
            found.append(ended_in_words(ended))
        long = [seen for seen in running if seen.took_s >= LINE_EVERY_S]
        if long and (self._last_s is None or now_s - self._last_s >= LINE_EVERY_S):
            self._last_s = now_s
            found += map(in_words, long)
        return found


class TerminalBars:
    """Shows the map that began first as a bar below all output."""

    def __init__(self, stream: TextIO) -> None:
        self._line = StatusLine(stream, live=True)
        if sys.stdout.isatty():
            self._line.take_streams()

    def maps(self, running: Sequence[MapSeen], ended: MapSeen | None) -> None:
        """See ShowsMaps."""
        self._line.show(bars_text(running, width=self._line.width))
        if ended is not None and ended.took_s >= LINE_EVERY_S:
            self._line.write_line(ended_in_words(ended))

    def close(self) -> None:
        """Nothing of it is left on the terminal."""
        self._line.show("")
        self._line.give_streams_back()


class NotebookBars:
    """Shows each map as a bar in the output of its cell, which changes in place."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._shown: dict[str, Any] = {}

    def maps(self, running: Sequence[MapSeen], ended: MapSeen | None) -> None:
        """See ShowsMaps."""
        for seen in running:
            self._show(NotebookBar(seen))
        if ended is not None and ended.name in self._shown:
            self._show(NotebookBar(ended, over=True))
            del self._shown[ended.name]

    def _show(self, bar: NotebookBar) -> None:
        known = self._shown.get(bar.seen.name)
        if known is None:
            self._shown[bar.seen.name] = self._display(bar, display_id=True)
        else:
            known.update(bar)


class NotebookBar:
    """A map as a notebook shows it: HTML, or the same in words."""

    def __init__(self, seen: MapSeen, *, over: bool = False) -> None:
        self.seen = seen
        self._over = over

    def __repr__(self) -> str:
        return ended_in_words(self.seen) if self._over else in_words(self.seen)

    def _repr_html_(self) -> str:
        part = self.seen.part
        value = "" if part is None else f' value="{part:.4f}"'
        label = escape(repr(self))
        return (
            f'<div><progress max="1"{value} aria-label="{label}" style="width: 20em; vertical-align: middle"></progress>'
            f" <span>{label}</span></div>"
        )


def bars_text(running: Sequence[MapSeen], *, width: int) -> str:
    """The map that began first as a bar, and how many run beside it."""
    if not running:
        return ""
    beside = f"  (+{len(running) - 1} more)" if len(running) > 1 else ""
    return bar_line(running[0], width=width - len(beside)) + beside


def _best() -> ShowsMaps:
    if "ipykernel" in sys.modules:
        return NotebookBars(import_module("IPython.display").display)
    return TerminalBars(sys.stderr) if is_lively(sys.stderr) else Lines()
