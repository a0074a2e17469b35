"""Output: what user code prints, as ordered records on the log socket."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
import time
from typing import Any

from squall.context.current import CurrentInput, current_input

RECORD_BYTES = 60 * 1024
_GIVE_UP_S = 5.0
_apart: list[bool] = []


class _Part:
    """What waits for the end of its line."""

    __slots__ = ("size", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.size = 0


class LogWriter(io.TextIOBase):
    """A text stream whose writes become records on a socket: a tag (b"o" or b"e"), then text.

    Whole lines leave at once, a part of a line waits for its end, for a flush, or for RECORD_BYTES. The
    kernel keeps what was written, so that nothing is lost when the process dies. When nobody reads for
    _GIVE_UP_S, output is dropped and counted rather than stopping user code for ever.
    """

    def __init__(self, sink: socket.socket, tag: bytes, fd: int) -> None:
        self._sink = sink
        self._tag = tag
        self._fd = fd
        # What waits for the end of its line, of the input that printed it where several run side by side.
        self._parts: dict[CurrentInput | None, _Part] = {}
        self._lock = threading.RLock()
        self._dropped = 0

    encoding = "utf-8"
    errors = "backslashreplace"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The same stream, for bytes."""
        return _Bytes(self)

    def writable(self) -> bool:
        """Yes."""
        return True

    def isatty(self) -> bool:
        """No: a container's output goes over a wire."""
        return False

    def fileno(self) -> int:
        """The descriptor behind the stream, for code that writes past it."""
        return self._fd

    def write(self, text: str) -> int:
        """Takes text; see the class for when it leaves."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            whose = current_input.get() if _apart else None
            part = self._parts.get(whose) or self._parts.setdefault(whose, _Part())
            part.texts.append(text)
            part.size += len(text)
            if "\n" in text or part.size >= RECORD_BYTES:
                self._send_lines(part)
        return len(text)

    def flush(self) -> None:
        """Sends what waits for the end of its line; in an input that runs beside others, what that one has printed."""
        own = current_input.get() if _apart else None
        with self._lock:
            for whose in tuple(self._parts) if own is None else (own,):
                part = self._parts.pop(whose, None)
                if part is not None:
                    self._send("".join(part.texts))

    def _send_lines(self, part: _Part) -> None:
        text = "".join(part.texts)
        end = len(text) if len(text) >= RECORD_BYTES else text.rfind("\n") + 1
        part.texts, part.size = ([text[end:]], len(text) - end) if end < len(text) else ([], 0)
        self._send(text[:end])

    def _send(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        for start in range(0, len(data), RECORD_BYTES):
            self._record(data[start : start + RECORD_BYTES])

    def _record(self, data: bytes) -> None:
        deadline = None
        while True:
            try:
                self._sink.send(self._tag + data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                now = time.monotonic()
                deadline = now + _GIVE_UP_S if deadline is None else deadline
                if self._dropped or now > deadline:
                    self._dropped += len(data)
                    return
                time.sleep(0.002)
                continue
            except OSError:
                return
            if self._dropped:
                note, self._dropped = f"[{self._dropped} bytes of output were dropped]\n", 0
                self._record(note.encode())
            return


class _Bytes(io.BufferedIOBase):
    """`sys.stdout.buffer`: bytes into the same records."""

    def __init__(self, text: LogWriter) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._text.write(raw.decode("utf-8", "backslashreplace"))
        return len(raw)

    def flush(self) -> None:
        self._text.flush()

    def fileno(self) -> int:
        return self._text.fileno()


def keep_apart() -> None:
    """Several inputs run side by side from now on: each prints whole lines."""
    _apart.append(True)


def take_over(log: int) -> None:
    """Puts `sys.stdout` and `sys.stderr` onto the log socket; raw writers keep descriptors 1 and 2."""
    sink = socket.socket(fileno=log)
    os.set_inheritable(log, False)
    sys.stdout = LogWriter(sink, b"o", 1)
    sys.stderr = LogWriter(sink, b"e", 2)
    vars(sys).update(__stdout__=sys.stdout, __stderr__=sys.stderr)


def flush() -> None:
    """Sends what has been printed so far: before an outcome, so that it never overtakes its output."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
