"""Status line: one line below everything else on a terminal, which makes way for what is written."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from typing import Any, Final, TextIO, cast

from squall.sdk.watch import Output

_CYAN: Final = "\x1b[36m"
_PLAIN: Final = "\x1b[0m"
_GONE: Final = "\r\x1b[2K"


def is_lively(stream: TextIO) -> bool:
    """Whether a line may be drawn anew there: a terminal that knows how, and whose user did not say NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Around:
    """The program's own stream while a status line may stand on the terminal: the line makes way for what is written."""

    def __init__(self, inner: TextIO, line: StatusLine) -> None:
        self._inner = inner
        self._line = line

    @property
    def inner(self) -> TextIO:
        """The stream itself."""
        return self._inner

    def write(self, text: str) -> int:
        """Writes, with the status line out of the way."""
        return self._line.write_around(self._inner, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class StatusLine:
    """Draws a text below all output of a stream's terminal. live: whether that can be done there."""

    def __init__(self, stream: TextIO, *, live: bool) -> None:
        self.stream = stream
        self.live = live
        self._output = Output()
        self._text = ""
        self._lock = threading.RLock()
        self._own_at_start = True
        self._drawn = False
        self._before: tuple[TextIO, TextIO] | None = None

    def take_streams(self) -> None:
        """What the program itself prints makes the line give way too."""
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (cast("TextIO", Around(one, self)) for one in self._before)

    def give_streams_back(self) -> None:
        """The program prints as it did before; others who took the streams meanwhile keep them."""
        if self._before is not None:
            out, err = sys.stdout, sys.stderr
            if isinstance(out, Around) and isinstance(err, Around) and (out.inner, err.inner) == self._before:
                sys.stdout, sys.stderr = self._before
            self._before = None

    @property
    def width(self) -> int:
        """How many columns a text may have: a longer one would take two lines, of which one would stay."""
        return max(10, shutil.get_terminal_size().columns - 4)

    def write_around(self, stream: TextIO, text: str) -> int:
        """Writes to the terminal where the line stood, and puts it back below once the line is ended."""
        with self._lock:
            self._clear()
            count = stream.write(text)
            self._own_at_start = text.endswith("\n") if text else self._own_at_start
            stream.flush()
            self._draw()
            self.stream.flush()
        return count

    def write_output(self, head: dict[str, Any], payload: memoryview) -> None:
        """Writes what containers have printed."""
        with self._lock:
            self._clear()
            self._output.write(head, payload)
            self._draw()

    def write_line(self, text: str) -> None:
        """Writes one line of ours."""
        with self._lock:
            self._clear()
            self.stream.write(text + "\n")
            self._draw()
            self.stream.flush()

    def show(self, text: str) -> None:
        """What the line says from now on; nothing for an empty one."""
        if not self.live:
            return
        with self._lock:
            self._clear()
            self._text = text
            self._draw()
            self.stream.flush()

    def _clear(self) -> None:
        if self._drawn:
            self.stream.write(_GONE)
            self.stream.flush()
            self._drawn = False

    def _draw(self) -> None:
        """Only where a line begins: what has been written of one must stay readable."""
        begins = self._own_at_start and self._output.at_line_start
        if self.live and self._text and not self._drawn and begins:
            self._drawn = True
            self.stream.write(f"{_CYAN}⠿ {self._text}{_PLAIN}")
