"""Log files: one app's log on disk, a row of numbered files, written at the end and read from either end."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squall.state.log_lines import LogLimits, Segment, surplus

BLOCK_BYTES: Final = 1 << 18
_NAME: Final = re.compile(r"(\d{8})\.jsonl")


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file, and where the next ones begin (or, read backwards, end); None: there are none."""

    lines: list[bytes]
    place: int | None


class LogFiles:
    """The log of one app in `directory`. One thread at a time."""

    def __init__(self, directory: Path, limits: LogLimits) -> None:
        self._directory = directory
        self._limits = limits
        self._number: int | None = (
            None  # the file that this process writes, once it knows that it ends in a line
        )

    def append(self, lines: Sequence[bytes], now_s: float) -> None:
        """Writes lines at the end, into a new file where one is full, and removes the oldest beyond the limits."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = self._newest() if self._number is None else self._number
        start = 0
        while start < len(lines):
            stop = self._write(number, lines[start:], now_s) + start
            if stop < len(lines):
                number += 1
                self.remove_surplus(now_s)
            start = stop
        self._number = number

    def segments(self) -> list[Segment]:
        """The files, oldest first."""
        found: list[Segment] = []
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    name = _NAME.fullmatch(entry.name)
                    if name is not None:
                        kept = entry.stat(follow_symlinks=False)
                        found.append(Segment(number=int(name[1]), size=kept.st_size, written_s=kept.st_mtime))
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda segment: segment.number)

    def remove_surplus(self, now_s: float) -> int:
        """Removes what is too old or too much; how many files. A directory that is left empty goes too."""
        segments = self.segments()
        going = surplus(segments, self._limits, now_s)
        for number in going:
            self._path(number).unlink(missing_ok=True)
        if len(going) == len(segments):
            self._number = None
            try:
                self._directory.rmdir()
            except OSError:
                pass  # never made, or not ours alone
        return len(going)

    def forward(self, number: int, place: int) -> Block:
        """The lines from `place` on, some of them. A last line without its end was torn, and is left out."""
        size = BLOCK_BYTES
        while True:
            read = self._read(number, place, size)
            end = read.rfind(b"\n") + 1
            if end:
                return Block(read[:end].splitlines(), place + end)
            if len(read) < size:
                return Block([], None)
            size *= 4  # a line longer than the block

    def backward(self, number: int, place: int | None) -> Block:
        """The lines that end at `place` (None: the end of the file), some of them, in their order."""
        end = self._size(number) if place is None else place
        size = BLOCK_BYTES
        while end:
            start = max(0, end - size)
            read = self._read(number, start, end - start)
            skipped = read.find(b"\n", 0, -1) + 1 if start else 0
            if start == 0 or skipped:
                return Block(read[skipped:].splitlines(), start + skipped)
            size *= 4
        return Block([], None)

    def _write(self, number: int, lines: Sequence[bytes], now_s: float) -> int:
        """Writes lines until the file is full, at least one into an empty file; how many."""
        known, self._number = self._number, None  # until it has gone well: a disk may fill up in mid-line
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path(number), flags, 0o600)
        try:
            size = os.fstat(fd).st_size
            torn = known != number and size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            count, room = 0, self._limits.segment_bytes - size
            while count < len(lines) and (len(lines[count]) <= room or (size == 0 and count == 0)):
                room -= len(lines[count])
                count += 1
            if count:
                _write_all(fd, b"\n" * torn + b"".join(lines[:count]))
                os.utime(fd, (now_s, now_s))  # the caller's clock decides about age, also in a simulation
        finally:
            os.close(fd)
        self._number = number
        return count

    def _newest(self) -> int:
        return max((segment.number for segment in self.segments()), default=0)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:08d}.jsonl"

    def _size(self, number: int) -> int:
        try:
            return self._path(number).stat().st_size
        except FileNotFoundError:
            return 0

    def _read(self, number: int, start: int, size: int) -> bytes:
        try:
            fd = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return b""  # removed meanwhile: it was too old
        try:
            return os.pread(fd, size, start)
        finally:
            os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
