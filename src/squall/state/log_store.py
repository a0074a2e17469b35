"""Log store: what containers said, on disk as lines of JSON, by app."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from squall.blobs.disk_errors import disk_error
from squall.blobs.threads import in_thread
from squall.model.errors import StoreClosed
from squall.model.ids import AppId
from squall.state.log_files import LogFiles
from squall.state.log_lines import LogEntry, LogFilter, LogLimits, LogStream, decode_entries, encode_entry

P = ParamSpec("P")
T = TypeVar("T")

FLUSH_S: Final = 0.05
BATCH_CHARS: Final = 256 << 10
MAX_CHARS: Final = 16 << 20  # held in memory at most, not yet on disk

_APP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is written of one app at once; dropped: how many entries before it were not."""

    entries: list[LogEntry]
    dropped: int


class LogStore:
    """Container logs below `root`, a directory for each app, bounded in size and age. Made by `open`.

    Entries are on disk within FLUSH_S, in the order in which they were appended; a crash loses no more than that,
    and may tear one line, which readers pass over. clock: seconds since 1970.
    """

    def __init__(self, root: Path, limits: LogLimits, clock: Callable[[], float]) -> None:
        self._root = root
        self._limits = limits
        self._clock = clock
        self._taken: dict[AppId, list[LogEntry]] = {}
        self._dropped: dict[AppId, int] = {}
        self._taken_chars = 0
        self._held_chars = 0
        self._timer: asyncio.TimerHandle | None = None
        self._files: dict[AppId, LogFiles] = {}
        self._writing: set[asyncio.Future[None]] = set()
        # One thread: batches stay in order, and no reader meets half a line.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="logs")
        self._closed = False
        self.lost = 0

    @classmethod
    async def open(
        cls, root: Path, limits: LogLimits | None = None, clock: Callable[[], float] = time.time
    ) -> LogStore:
        """The logs in this directory, which is made. Raises StateDirectoryReadOnly, StateDirectoryError."""
        store = cls(root, limits or LogLimits(), clock)
        try:
            await store._away(partial(root.mkdir, mode=0o700, parents=True, exist_ok=True))
        except BaseException:
            await store.close()
            raise
        return store

    def append(self, app: AppId, entries: Sequence[LogEntry]) -> None:
        """Takes what containers said, at once.

        Never waits and never raises for a disk in trouble: beyond MAX_CHARS in memory, or where writing fails,
        entries are dropped and counted in `lost`, and a note in the log says how many. Raises StoreClosed.
        """
        if self._closed:
            raise StoreClosed
        self._files_of(app)
        size = sum(len(entry.text) + 100 for entry in entries)
        if self._held_chars + size > MAX_CHARS:
            self.lost += len(entries)
            self._dropped[app] = self._dropped.get(app, 0) + len(entries)
            return
        self._taken.setdefault(app, []).extend(entries)
        self._taken_chars += size
        self._held_chars += size
        if self._taken_chars >= BATCH_CHARS:
            self._push()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._push)

    async def read(
        self, app: AppId, wanted: LogFilter | None = None, *, tail: int | None = None
    ) -> AsyncIterator[LogEntry]:
        """The entries of an app that are asked for, oldest first; with `tail` only the last so many.

        Everything appended before is among them. Memory stays below a few MiB, and the entries of `tail`.
        """
        wanted = wanted or LogFilter()
        files = self._files_of(app)
        await self.flush()
        segments = [
            segment.number
            for segment in await self._away(files.segments)
            if wanted.since_s is None or segment.written_s >= wanted.since_s
        ]
        if tail is not None:
            for entry in await self._last(files, segments, wanted, tail):
                yield entry
            return
        for number in segments:
            place: int | None = 0
            while place is not None:
                block = await self._away(files.forward, number, place)
                for entry in decode_entries(block.lines, wanted):
                    yield entry
                place = block.place

    async def sweep(self) -> int:
        """Removes what is past its time or beyond the size; how many files."""
        names = await self._away(self._apps)
        return sum([await self._away(self._files_of(app).remove_surplus, self._clock()) for app in names])

    async def flush(self) -> None:
        """Returns when everything appended so far is on disk, or lost and counted."""
        self._push()
        if self._writing:
            await asyncio.wait(list(self._writing))

    async def close(self) -> None:
        """Writes what was taken, and ends; a second time does nothing."""
        if not self._closed:
            self._closed = True
            await self.flush()
            self._thread.shutdown(wait=False)

    async def _last(
        self, files: LogFiles, segments: list[int], wanted: LogFilter, tail: int
    ) -> deque[LogEntry]:
        found: deque[LogEntry] = deque()
        for number in reversed(segments):
            place: int | None = None
            while len(found) < tail:
                block = await self._away(files.backward, number, place)
                found.extendleft(reversed(decode_entries(block.lines, wanted)))
                place = block.place
                if not place:
                    break
        while len(found) > tail:
            found.popleft()
        return found

    def _push(self) -> None:
        """Hands everything that was taken to the thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken, self._taken = self._taken, {}
        size, self._taken_chars = self._taken_chars, 0
        if not taken:
            return
        batch = {app: _Batch(entries, self._dropped.pop(app, 0)) for app, entries in taken.items()}
        sent = asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        self._writing.add(sent)
        sent.add_done_callback(partial(self._written, batch, size))

    def _written(self, batch: dict[AppId, _Batch], size: int, sent: asyncio.Future[None]) -> None:
        self._writing.discard(sent)
        self._held_chars -= size
        if sent.cancelled() or sent.exception() is not None:
            for app, part in batch.items():
                self.lost += len(part.entries)
                self._dropped[app] = self._dropped.get(app, 0) + part.dropped + len(part.entries)

    def _files_of(self, app: AppId) -> LogFiles:
        if not _APP.fullmatch(app):
            raise ValueError(f"no id of an app: {app!r}")
        files = self._files.get(app)
        if files is None:
            files = self._files[app] = LogFiles(self._root / app, self._limits)
        return files

    async def _away(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The one place from which reads leave for the thread; writes leave in `_push`."""
        if self._closed:
            raise StoreClosed
        loop = asyncio.get_running_loop()
        try:
            return await in_thread(loop.run_in_executor(self._thread, lambda: work(*args, **kwargs)))
        except OSError as error:
            raise disk_error(error, self._root) from error

    # Both run in the thread.

    def _write(self, batch: dict[AppId, _Batch]) -> None:
        for app, part in batch.items():
            said = [*part.entries, _note(part)] if part.dropped else part.entries
            self._files[app].append([encode_entry(entry) for entry in said], self._clock())

    def _apps(self) -> list[AppId]:
        return sorted(
            AppId(entry.name)
            for entry in self._root.iterdir()
            if entry.is_dir() and _APP.fullmatch(entry.name)
        )


def _note(part: _Batch) -> LogEntry:
    last = part.entries[-1]
    return LogEntry(
        at_s=last.at_s,
        container=last.container,
        function=last.function,
        stream=LogStream.NOTE,
        text=f"squall: {part.dropped} log entries before this one could not be written\n",
    )
