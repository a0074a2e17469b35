"""Output: what one container prints, read in order, held to a rate, passed on in batches."""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable
from typing import Any

Rows = list[list[Any]]
_READ = 61 * 1024
_BATCH = 128 * 1024
_TEXTS = 512
"""Records of one frame, whose header holds 64 KiB."""
_TURNS = 64
_ALL_TURNS = 16_384
"""More records than the kernel keeps of one container, so that what was printed before an outcome leaves before it."""


class Output:
    """The log socket and the two raw pipes of one container.

    pass_on gets rows [stream, bytes, seconds since 1970] and the text. rate: bytes a second, with a burst of
    four seconds; what is above is dropped and counted, and the count is printed in its place.
    """

    def __init__(
        self, fds: tuple[int, int, int], pass_on: Callable[[Rows, list[bytes]], None], *, rate: float
    ) -> None:
        self._log, self._out, self._err = fds
        self._open = [(fds[0], ""), (fds[1], "o"), (fds[2], "e")]
        self._pass_on = pass_on
        self._rate = rate
        self._room = rate * 4
        self._filled_s = time.monotonic()
        self._dropped = 0
        self._loop = asyncio.get_running_loop()
        for fd, _tag in self._open:
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self.drain)
        self._poll = select.poll()
        for fd, _tag in self._open:
            self._poll.register(fd, select.POLLIN)
        self._paused = False

    def drain(self, turns: int = _TURNS) -> None:
        """Passes on what has been printed by now, of each descriptor at most so many records."""
        if not self._poll.poll(0):
            return  # one question for all three, as most outcomes have nothing printed before them
        rows: Rows = []
        texts: list[bytes] = []
        size = 0
        now = time.time()
        for fd, tag in tuple(self._open):
            for _turn in range(turns):
                try:
                    data = os.read(fd, _READ)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self._end_of(fd, tag)
                    break
                stream, text = (tag, data) if tag else (chr(data[0]), data[1:])
                if self._within_rate(len(text)):
                    self._count_dropped(rows, texts, now)
                    if rows and rows[-1][0] == stream and rows[-1][1] < _READ:
                        rows[-1][1] += len(text)
                    else:
                        rows.append([stream, len(text), now])
                    texts.append(text)
                    size += len(text)
                if size > _BATCH or len(texts) >= _TEXTS:
                    self._pass_on(rows, texts)
                    rows, texts, size = [], [], 0
        if rows:
            self._pass_on(rows, texts)

    def settle(self) -> None:
        """Passes on everything that has been printed by now, and says what was dropped: before an outcome leaves."""
        self.drain(turns=_ALL_TURNS)
        if self._dropped:
            rows: Rows = []
            texts: list[bytes] = []
            self._count_dropped(rows, texts, time.time())
            self._pass_on(rows, texts)

    def close(self) -> None:
        """Passes on what is left, and closes the descriptors."""
        self.settle()
        for fd, tag in tuple(self._open):
            self._end_of(fd, tag)

    def _end_of(self, fd: int, tag: str) -> None:
        self._loop.remove_reader(fd)
        self._open.remove((fd, tag))
        self._poll.unregister(fd)
        os.close(fd)

    def _within_rate(self, size: int) -> bool:
        now = time.monotonic()
        self._room = min(self._rate * 4, self._room + (now - self._filled_s) * self._rate)
        self._filled_s = now
        if size > self._room:
            self._dropped += size
            return False
        self._room -= size
        return True

    def _count_dropped(self, rows: Rows, texts: list[bytes], now: float) -> None:
        if self._dropped:
            note = f"[{self._dropped} bytes of output were dropped: more than {self._rate:g} bytes a second]\n".encode()
            rows.append(["e", len(note), now])
            texts.append(note)
            self._dropped = 0
