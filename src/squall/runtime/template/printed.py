"""Printed: what the user's code prints while a template loads it, read also where nobody asks, so that it does not wait."""

import os
import selectors
from collections.abc import Callable
from functools import partial

from squall.runtime.template.around import Around

# As JSON it is up to six times as much, and a packet holds 64 KiB.
_READ = 8 * 1024


class Printed:
    """The pipes behind 1 and 2 of templates. tell: which of the two, and what came."""

    def __init__(self, around: Around, tell: Callable[[int, bytes], None]) -> None:
        self._around = around
        self._tell = tell
        self._streams: dict[int, int] = {}

    def open(self) -> tuple[int, int]:
        """Pipes for one more template: the ends that it writes to, the caller's to hand on and close."""
        (out, inner_out), (err, inner_err) = os.pipe(), os.pipe()
        for stream, fd in ((1, out), (2, err)):
            os.set_blocking(fd, False)
            self._streams[fd] = stream
            self._around.selector.register(fd, selectors.EVENT_READ, partial(self._read, fd))
        return inner_out, inner_err

    def close(self) -> None:
        """Nothing of it is wanted any more."""
        for fd in list(self._streams):
            self._close(fd)

    def _read(self, fd: int) -> None:
        data = os.read(fd, _READ)
        if data:
            self._tell(self._streams[fd], data)
        else:
            self._close(fd)

    def _close(self, fd: int) -> None:
        del self._streams[fd]
        self._around.unlisten(fd)
        os.close(fd)
