"""Tracebacks of frames that ran elsewhere, with the source lines that ran there."""

from __future__ import annotations

import ast
import linecache
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Final

from squall.model.raised import MARKER_FILE, Place

_MOST_FRAMES: Final = 20_000
_MOST_FILES: Final = 500
_LARGEST_FILE: Final = 16 * 1024 * 1024
_LAST_LINE: Final = 1_000_000
# Files that ship from outside of a root: {root: {path in the shipped source: local path}}.
_moved: Final[dict[str, Mapping[str, str]]] = {}
# Files whose lines we told linecache, oldest first: {name: {line: text}}.
_told: Final[dict[str, dict[int, str]]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFiles:
    """Where the files of the shipped source are on this machine: below root, or where `moved` says."""

    root: str | None
    moved: Mapping[str, str]

    def name(self, place: Place) -> str:
        """The file name that a local traceback would show for the place."""
        file = _printable(place.get("file", "?"))
        if not place.get("source"):
            return file
        if file in self.moved:
            return self.moved[file]
        if self.root is None or os.path.isabs(file) or ".." in file.split("/"):
            return file
        return os.path.join(os.path.abspath(self.root), file)


def traceback_of(
    frames: Sequence[Sequence[int]], places: Sequence[Place], files: LocalFiles, *, names: Sequence[str] = ()
) -> TracebackType | None:
    """A real traceback with these frames, outermost first; None without any.

    frames: pairs of (index into places, times in a row). names: names to be found in the innermost frame, which lets
    Python suggest them for a misspelt one.
    """
    tb: TracebackType | None = None
    room = _MOST_FRAMES
    for innermost, (index, times) in enumerate(reversed(frames)):
        place = places[index]
        one = _entry(place, _shown_as(place, files), names if innermost == 0 else ())
        for _ in range(min(times, room)):
            tb = TracebackType(tb, one.tb_frame, one.tb_lasti, one.tb_lineno)
        room -= min(times, room)
    return tb


def marker(name: str) -> TracebackType:
    """The one traceback line that says: from here on it was in the container."""
    return _entry({"line": 1, "name": name}, MARKER_FILE, ())


def joined(outer: TracebackType | None, inner: TracebackType | None) -> TracebackType | None:
    """The frames of `outer`, and below them those of `inner`."""
    entries = []
    while outer is not None:
        entries.append(outer)
        outer = outer.tb_next
    for entry in reversed(entries):
        inner = TracebackType(inner, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return inner


def know_moved(root: str, moved: Mapping[str, str]) -> None:
    """Remember where files that ship with the source of `root`, but lie outside of it, are on this machine."""
    _moved[root] = moved


def moved_from(root: str | None) -> Mapping[str, str]:
    """What is remembered: {path in the shipped source: local path}."""
    return _moved.get(root or "", {})


class _Reached(Exception):  # noqa: N818 - no error: how a frame is left with its traceback
    """Raised in a frame that is made only to stand in a traceback."""


def _reach() -> None:
    raise _Reached


def _entry(place: Place, file: str, names: Sequence[str]) -> TracebackType:
    """A traceback entry whose frame has this place's file, function name, line and columns."""
    return _made(file, _printable(place.get("name", "?")), _span(place), tuple(names))


@lru_cache(maxsize=1024)
def _made(file: str, name: str, at: tuple[int, int, int, int], names: tuple[str, ...]) -> TracebackType:
    """The entry, from a frame that was at this line, end line, column and end column.

    A call is compiled at exactly that position and run, so that the code object, its line table and the index of the
    instruction are CPython's own, in the form of whichever version runs here.
    """
    span: Any = dict(zip(("lineno", "end_lineno", "col_offset", "end_col_offset"), at, strict=True))
    call = ast.Call(func=ast.Name(id="__reach__", ctx=ast.Load(), **span), args=[], keywords=[], **span)
    tree = ast.Module(body=[ast.Expr(value=call, **span)], type_ignores=[])
    code = compile(tree, file, "exec").replace(co_name=name)
    try:
        exec(code, {**dict.fromkeys(names), "__name__": "?", "__reach__": _reach})  # noqa: S102 - runs the one call made above
    except _Reached as reached:
        tb = reached.__traceback__
        assert tb is not None and tb.tb_next is not None  # noqa: PT018 - this frame, then the one we made
        made = tb.tb_next
        return TracebackType(None, made.tb_frame, made.tb_lasti, made.tb_lineno)
    raise AssertionError("the call that was compiled raises")


def _span(place: Place) -> tuple[int, int, int, int]:
    """Line, end line, column, end column, all valid for the compiler; columns are -1 where they are unknown."""
    line = max(1, min(place.get("line") or 1, 2**30))
    end_line, column, end_column = place.get("end_line"), place.get("column"), place.get("end_column")
    if end_line is None or column is None or end_column is None:
        return line, line, -1, -1
    backwards = end_line < line or (end_line == line and end_column < column)
    if backwards or min(column, end_column) < 0 or max(end_line, column, end_column) > 2**30:
        return line, line, -1, -1
    return line, end_line, column, end_column


def _shown_as(place: Place, files: LocalFiles) -> str:
    """The name under which linecache has the lines that ran; the local file's own wherever it has the same lines."""
    name = files.name(place)
    text = place.get("text")
    if not text:
        return name  # a notebook cell, or a file without source: what is known here is all there is
    first = place.get("line", 1)
    if not 0 < first < _LAST_LINE:
        return name
    local = [] if name in _told else _local_lines(name)
    if local is None or local:
        here = [line.rstrip("\n") for line in (local or [])[first - 1 : first - 1 + len(text)]]
        if all(mine.startswith(theirs) for mine, theirs in zip(here, text, strict=False)) and len(
            here
        ) == len(text):
            return name
        name = f"{name} (as it ran)"  # edited since: its present lines would be a lie
    _tell(name, first, text)
    return name


def _local_lines(name: str) -> list[str] | None:
    """The lines of that file here; none where there is no such file, None where it must not be read.

    The name was told from elsewhere: it may be a device or a pipe, which would be read without end.
    """
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return linecache.getlines(name) if name in linecache.cache else []
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE:
        return None
    linecache.checkcache(name)
    return linecache.getlines(name)


def _printable(text: str) -> str:
    """The text as it is, or escaped where it could forge lines of a traceback."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _tell(name: str, first: int, text: Sequence[str]) -> None:
    """Give linecache these lines of a file that is not here; the entry has no time stamp, so it is never dropped."""
    lines = _told.setdefault(name, {})
    lines.update(enumerate((line + "\n" for line in text), first))
    last = max(lines)
    linecache.cache[name] = (last, None, [lines.get(number, "\n") for number in range(1, last + 1)], name)
    while len(_told) > _MOST_FILES:
        oldest = next(iter(_told))
        del _told[oldest]
        linecache.cache.pop(oldest, None)
