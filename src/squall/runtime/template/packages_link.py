"""The launcher's link to the packages of a template: the process that stays, and from which later templates are forked."""

import selectors
import socket
from collections.abc import Callable, Mapping
from typing import Any

from squall.runtime import packet
from squall.runtime.container import a_line
from squall.runtime.template.around import Around
from squall.wire.rights import close_all

Message = dict[str, Any]


class PackagesLink:
    """One process with packages, if there is one. names: what it has imported; inner_pid: of it for the template's init."""

    def __init__(self, around: Around) -> None:
        self.names: tuple[str, ...] = ()
        self.seconds = 0.0
        self.pid = 0
        self.inner_pid = 0
        self._around = around
        self._line: socket.socket | None = None
        self._stays = False

    @property
    def stays(self) -> bool:
        """Whether it is there to fork templates of later versions."""
        return self._stays and self._line is not None

    def open(self) -> socket.socket:
        """A line for packages that may come to stay: the end that is theirs, the caller's to hand on and close."""
        self.ended()
        self._line, inner = a_line()
        self._around.selector.register(self._line, selectors.EVENT_READ, self.listen)
        return inner

    def listen(self) -> None:
        """Take in what it has said by now."""
        while self._line is not None:
            try:
                got = packet.heard(self._line)
            except BlockingIOError:
                return
            if got is None:
                self.close()
                return
            close_all(got.fds)
            self._take(got)

    def derive(self, load: Mapping[str, Any], fds: tuple[int, ...]) -> None:
        """Have a template forked that loads this; fds: its root, socket, pipes and code. Raises OSError, ValueError."""
        if self._line is None:
            raise BrokenPipeError("the packages are gone")
        packet.send(self._line, {"t": "derive", "load": dict(load)}, fds)

    def close(self) -> None:
        """Let go of it, at which it ends."""
        self._stays = False
        if self._line is not None:
            self._around.unlisten(self._line.fileno())
            self._line.close()
            self._line = None

    def ended(self) -> None:
        """It has ended, which its line says too."""
        self.close()
        self.inner_pid = 0

    def _take(self, got: packet.Packet) -> None:
        message = got.message
        if message.get("t") != "packages" or self._stays:
            return
        try:
            self.names, self.seconds = tuple(map(str, message["names"])), float(message["seconds"])
        except (KeyError, TypeError, ValueError):
            self.close()
            return
        self.pid, self._stays = got.sender, True


class Door:
    """The way into a root that a template's init has made: opened is called with its descriptor, or without where there is none."""

    def __init__(self, around: Around, opened: Callable[[int | None], None]) -> None:
        self._around = around
        self._opened = opened
        self._line, self.inner = a_line()
        around.selector.register(self._line, selectors.EVENT_READ, self._listen)

    def _listen(self) -> None:
        try:
            got = packet.heard(self._line)
        except BlockingIOError:
            return
        fds = () if got is None else got.fds
        self.close()
        try:
            self._opened(fds[0] if fds else None)
        finally:
            close_all(fds)

    def close(self) -> None:
        """Nobody comes through it any more."""
        if self._line.fileno() >= 0:
            self._around.unlisten(self._line.fileno())
            self._line.close()
        self.inner.close()
