"""Ends: descriptors of a terminal or of pipes that stay where they are, joined to a stream by what is read from them and written to them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from squall.wire.codec import Frame
from squall.wire.stream import Stream

WINDOW: Final = 512 * 1024
"""Bytes of one end that may be on their way before the other side has said that it took some."""
_PIECE: Final = 64 * 1024
_TIOCSWINSZ: Final = 0x5414


class Ends:
    """Descriptors that it owns from here on, each read to its end and written to, whichever it allows.

    Data travels as DATA frames {"end": i} with their bytes; {"end": i, "closed": true} says that no more comes, and
    {"end": i, "took": n} that so many bytes were written, so that neither side holds more than WINDOW. {"size": [rows,
    columns]} is of a terminal's window. Frames of the other side go to `take`. reads, writes: which of the ends do.
    """

    def __init__(
        self, stream: Stream, fds: Sequence[int], *, reads: Sequence[int], writes: Sequence[int]
    ) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._fds: dict[int, int] = dict(enumerate(fds))
        self._out = dict.fromkeys(reads, 0)
        self._in: dict[int, deque[memoryview]] = {end: deque() for end in writes}
        self._last: set[int] = set()
        self._drained = asyncio.Event()
        for fd in fds:
            os.set_blocking(fd, False)
        for end in reads:
            self._loop.add_reader(self._fds[end], self._read, end)

    def take(self, frame: Frame) -> None:
        """What the other side has read, or taken. What makes no sense is passed over."""
        head = frame.head()
        if "size" in head:
            self._resize(head)
            return
        end = head.get("end")
        if end not in self._fds or not isinstance(end, int):
            return
        if "took" in head:
            self._took(end, int(head["took"]))
        elif end in self._in:
            if len(frame.payload):
                self._in[end].append(memoryview(bytes(frame.payload)))
            if head.get("closed"):
                self._last.add(end)
            self._write(end)

    async def drained(self, within_s: float) -> None:
        """Returns once all ends that are read have come to their end, or that time is over."""
        if not self._out:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._drained.wait()

    def end_writes(self) -> None:
        """Nothing more comes to be written: each end is let go once all that has come is out."""
        for end in list(self._in):
            self._last.add(end)
            self._out.pop(end, None)
            self._write(end)

    def close(self) -> None:
        """Lets go of every end. Twice is once."""
        for end in list(self._fds):
            self._drop(end)

    def _read(self, end: int) -> None:
        try:
            data = os.read(self._fds[end], _PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # a terminal whose other side has gone says EIO
            data = b""
        if not data or not self._stream.live:
            self._end_reading(end)
            return
        self._out[end] += len(data)
        self._stream.send({"end": end}, data)
        if self._out[end] >= WINDOW:
            self._loop.remove_reader(self._fds[end])

    def _end_reading(self, end: int) -> None:
        self._loop.remove_reader(self._fds[end])
        self._out.pop(end, None)
        if self._stream.live:
            self._stream.send({"end": end, "closed": True})
        if not self._out:
            self._drained.set()
        if end not in self._in:
            self._drop(end)

    def _took(self, end: int, count: int) -> None:
        if end in self._out:
            was_full = self._out[end] >= WINDOW
            self._out[end] = max(0, self._out[end] - count)
            if was_full and self._out[end] < WINDOW:
                self._loop.add_reader(self._fds[end], self._read, end)

    def _write(self, end: int) -> None:
        waiting, fd, taken = self._in[end], self._fds[end], 0
        while waiting:
            try:
                count = os.write(fd, waiting[0])
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(fd, self._write, end)
                break
            except OSError:
                # Nobody reads there any more: what comes is taken, and goes nowhere.
                count = len(waiting[0])
            taken += count
            waiting[0] = waiting[0][count:]
            if not len(waiting[0]):
                waiting.popleft()
        if taken and self._stream.live:
            self._stream.send({"end": end, "took": taken})
        if not waiting:
            self._loop.remove_writer(fd)
            if end in self._last and end not in self._out:
                self._drop(end)

    def _resize(self, head: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError, TypeError, struct.error):
            rows, columns = head["size"]
            for fd in self._fds.values():
                fcntl.ioctl(fd, _TIOCSWINSZ, struct.pack("4H", int(rows), int(columns), 0, 0))

    def _drop(self, end: int) -> None:
        fd = self._fds.pop(end, None)
        if fd is None:
            return
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        self._out.pop(end, None)
        self._in.pop(end, None)
        os.close(fd)
        if not self._out:
            self._drained.set()
