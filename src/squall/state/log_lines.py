"""Log line: what a container said, as a line of JSON, and which files of such lines may go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from squall.model.ids import ContainerId, FunctionId
from squall.model.parameters import POOL
from squall.model.variant import MARK


class LogStream(StrEnum):
    """Where it was said; NOTE is our own word, such as how much was dropped."""

    STDOUT = "o"
    STDERR = "e"
    NOTE = "n"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """Something that a container wrote at once, at_s seconds since 1970.

    text is as it was written, with its escape sequences and its line ends; bytes that are no UTF-8 are surrogates.
    """

    at_s: float
    container: ContainerId
    function: FunctionId
    stream: LogStream
    text: str


def is_of(name: str, function: str) -> bool:
    """Whether a name is that of a function, of one of its variants, or of a class with other parameters."""
    return name == function or name.startswith((function + MARK, function + POOL))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which entries are asked for; None takes all. name: see `is_of`. since_s: seconds since 1970."""

    function: FunctionId | None = None
    name: str | None = None
    container: ContainerId | None = None
    since_s: float | None = None

    def takes(self, entry: LogEntry) -> bool:
        return (
            (self.function is None or entry.function == self.function)
            and (self.name is None or is_of(entry.function.partition("/")[2], self.name))
            and (self.container is None or entry.container == self.container)
            and (self.since_s is None or entry.at_s >= self.since_s)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """What is kept of an app's logs: segment_bytes a file, app_bytes in all, and keep_s after the last line."""

    segment_bytes: int = 8 << 20
    app_bytes: int = 256 << 20
    keep_s: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file of an app's log. written_s: when it was written last, in seconds since 1970."""

    number: int
    size: int
    written_s: float


def encode_entry(entry: LogEntry) -> bytes:
    """One line, in ASCII: nothing that was said can end it or move a terminal that shows the file."""
    row = [round(entry.at_s, 6), entry.container, entry.function, entry.stream.value, entry.text]
    return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"


def decode_entries(lines: Iterable[bytes], wanted: LogFilter) -> list[LogEntry]:
    """The entries that are asked for; lines that are none (torn by a crash) are passed over."""
    # Most lines of a busy app are not of the one container that is asked for: parsing them is what costs.
    must = (wanted.container or wanted.function or "").encode()
    return [
        entry
        for line in lines
        if must in line and (entry := _decode(line)) is not None and wanted.takes(entry)
    ]


def surplus(segments: Sequence[Segment], limits: LogLimits, now_s: float) -> tuple[int, ...]:
    """The numbers of the files to remove, oldest first: those past their time, and the oldest beyond the size.

    The newest one stays while it is young, however large it is.
    """
    going: list[int] = []
    total = sum(segment.size for segment in segments)
    newest = max((segment.number for segment in segments), default=-1)
    for segment in sorted(segments, key=lambda segment: segment.number):
        old = now_s - segment.written_s > limits.keep_s
        if old or (total > limits.app_bytes and segment.number != newest):
            going.append(segment.number)
            total -= segment.size
    return tuple(going)


def _decode(line: bytes) -> LogEntry | None:
    try:
        row: Any = json.loads(line)
        at_s, container, function, stream, text = row
        return LogEntry(
            at_s=float(at_s),
            container=ContainerId(str(container)),
            function=FunctionId(str(function)),
            stream=LogStream(stream),
            text=str(text),
        )
    except (ValueError, TypeError):
        return None
