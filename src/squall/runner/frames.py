"""The frames of a traceback that are the user's, as places in the code."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from types import CodeType, FrameType, TracebackType
from typing import Final

from squall.model.raised import MARKER_FILE, Place

_OUR_DIRECTORY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB: Final = sysconfig.get_path("stdlib") + os.sep
# What stands between our code and the user's, and is nobody's concern there.
_PLUMBING: Final = (
    "<frozen importlib",
    "<frozen runpy",
    _STDLIB + "importlib" + os.sep,
    _STDLIB + "asyncio" + os.sep,
    _STDLIB + "concurrent" + os.sep + "futures" + os.sep,
    _STDLIB + "contextlib.py",
    _STDLIB + "threading.py",
    _STDLIB + "runpy.py",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLimits:
    """How much of a traceback is told. places: distinct ones; runs: of the same place; lines and columns: of source."""

    places: int
    runs: int
    lines: int
    columns: int


@dataclass(frozen=True, slots=True)
class _Step:
    """One entry of a traceback."""

    code: CodeType
    lasti: int
    line: int
    frame: FrameType


class Places:
    """The places that the frames of all exceptions share, each told once."""

    def __init__(self, *, source_root: str, limits: FrameLimits) -> None:
        self.told: list[Place] = []
        self._indices: dict[tuple[CodeType, int, int], int] = {}
        self._root = os.path.join(os.path.abspath(source_root), "") if source_root else ""
        self._limits = limits

    def frames(self, tb: TracebackType | None, *, outermost: bool) -> list[list[int]]:
        """The user's frames of a traceback, as runs of [index of place, times in a row].

        outermost: whether this is the exception that was raised to the runner, below which everything is plumbing.
        """
        steps = _visible(list(_steps(tb)), outermost=outermost)
        runs = [(step, len([step, *rest])) for step, *rest in _runs(steps)]
        first, left_out, last = self._cut(runs)
        frames = [[self._index(step), count] for step, count in first]
        if left_out:
            self.told.append(_gap(sum(count for _, count in left_out)))
            frames.append([len(self.told) - 1, 1])
        return frames + [[self._index(step), count] for step, count in last]

    def _cut(self, runs: list[tuple[_Step, int]]) -> tuple[list[tuple[_Step, int]], ...]:
        """The runs split into those told, those left out, and those told again: the ends of a traceback say most."""
        head = self._fitting(runs)
        if head == len(runs):
            return runs, [], []
        head = self._fitting(runs, share=2)
        tail = len(runs) - self._fitting(runs[::-1], share=2)
        if tail <= head:
            return runs, [], []
        return runs[:head], runs[head:tail], runs[tail:]

    def _fitting(self, runs: list[tuple[_Step, int]], share: int = 1) -> int:
        """How many of the first runs fit into the limits divided by `share`."""
        seen: set[tuple[CodeType, int]] = set()
        for position, (step, _) in enumerate(runs):
            seen.add((step.code, step.lasti))
            if len(seen) > self._limits.places // share or position >= self._limits.runs // share:
                return position
        return len(runs)

    def _index(self, step: _Step) -> int:
        key = (step.code, step.lasti, step.line)
        if key not in self._indices:
            self._indices[key] = len(self.told)
            self.told.append(self._place(step))
        return self._indices[key]

    def _place(self, step: _Step) -> Place:
        file = step.code.co_filename
        inside = bool(self._root) and file.startswith(self._root)
        line, end_line, column, end_column = _position(step)
        place: Place = {
            "file": (file[len(self._root) :] if inside else file)[-1024:],
            "source": inside,
            "line": line,
            "name": step.code.co_name[:256],
            "end_line": end_line,
            "column": column,
            "end_column": end_column,
        }
        text = self._text(step, line, end_line)
        if text:
            place["text"] = text
        return place

    def _text(self, step: _Step, line: int, end_line: int | None) -> list[str]:
        """The source lines of a place, stripped of their line ends, cut to the limits."""
        file = step.code.co_filename
        try:
            linecache.lazycache(file, step.frame.f_globals)
            lines = linecache.getlines(file)
        except Exception:  # noqa: BLE001 - a foreign __loader__ may raise anything; a frame without its text is still a frame
            return []
        last = min(end_line or line, line + self._limits.lines - 1)
        wanted = lines[line - 1 : last] if line > 0 else []
        return [_readable(text.rstrip("\n"))[: self._limits.columns] for text in wanted]


def _steps(tb: TracebackType | None) -> Iterator[_Step]:
    while tb is not None:
        yield _Step(tb.tb_frame.f_code, tb.tb_lasti, tb.tb_lineno, tb.tb_frame)
        tb = tb.tb_next


def _visible(steps: list[_Step], *, outermost: bool) -> list[_Step]:
    """The steps without ours, and without the plumbing next to ours."""
    visible: list[_Step] = []
    for (_, users), group in groupby(enumerate(steps), key=lambda pair: (0, _is_users(pair[1]))):
        segment = list(group)
        leading = outermost and segment[0][0] == 0
        if users or not (leading or any(_is_ours(step) for _, step in segment)):
            visible += [step for _, step in segment]
    return visible


def _is_ours(step: _Step) -> bool:
    file = step.code.co_filename
    return file == MARKER_FILE or file.startswith(_OUR_DIRECTORY)


def _is_users(step: _Step) -> bool:
    return not _is_ours(step) and not step.code.co_filename.startswith(_PLUMBING)


def _runs(steps: list[_Step]) -> Iterator[list[_Step]]:
    for _, group in groupby(steps, key=lambda step: (step.code, step.lasti, step.line)):
        yield list(group)


def _position(step: _Step) -> tuple[int, int | None, int | None, int | None]:
    """Line, end line, column, end column of the step, as a local traceback would see them."""
    try:
        found = next(islice(step.code.co_positions(), step.lasti // 2, None), None)
    except Exception:  # noqa: BLE001 - code objects made by hand may have a table that cannot be read
        found = None
    line, end_line, column, end_column = found or (None, None, None, None)
    if line is None or line != step.line:
        return step.line or 0, None, None, None
    return line, end_line, column, end_column


def _gap(count: int) -> Place:
    return {"file": MARKER_FILE, "source": False, "line": 1, "name": f"[{count} frames left out]"}


def _readable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot carry."""
    return text.encode(errors="backslashreplace").decode()


def python_version() -> str:
    """The minor version, "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
