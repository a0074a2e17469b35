"""The log of one of our own processes: what it writes to its standard error, turned over by size."""

import io
import json
import os
import time
from pathlib import Path


class ProcessLog:
    """Lines of one process, kept in `path` and, when it has grown over limit_bytes, in `path`.1 to `path`.3.

    Standard output and error are led there too, so that a crash leaves its traceback in the same file. The
    writer itself turns the file over as it writes: nobody has to watch it.
    """

    KEPT = 3

    def __init__(self, path: Path, *, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._lead_here()

    def stream(self) -> io.TextIOBase:
        """A stream to put in the place of sys.stderr, which turns the file over as it writes."""
        return _LogStream(self)

    def write(self, event: str, *, level: str = "info", **facts: object) -> None:
        """One line; facts are what JSON can carry. A full disk loses the line, never the process."""
        line = {"ts": round(time.time(), 3), "level": level, "event": event, **facts}
        try:
            os.write(2, (json.dumps(line, default=str) + "\n").encode())
        except OSError:
            return
        self.turn_over()

    def turn_over(self) -> None:
        """Begin a new file where this one has reached its limit, whoever wrote to it."""
        try:
            if os.fstat(2).st_size < self._limit_bytes:
                return
            for number in range(self.KEPT, 0, -1):
                older = f"{self._path}.{number - 1}" if number > 1 else str(self._path)
                if os.path.exists(older):
                    os.replace(older, f"{self._path}.{number}")
        except OSError:
            return
        self._lead_here()

    def _lead_here(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)


class _LogStream(io.TextIOBase):
    """Standard error as text, written at once."""

    def __init__(self, log: ProcessLog) -> None:
        super().__init__()
        self._log = log

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, text: str) -> int:
        try:
            os.write(2, text.encode(errors="backslashreplace"))
        except OSError:  # a full disk loses the line, never the process
            return len(text)
        self._log.turn_over()
        return len(text)
