"""Accepting: connections from the line of a listening socket, which is left alone for a while when there is no room."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

_ACCEPTED_AT_ONCE: Final = 64
# How long to leave the line alone when this process has no descriptor left for a connection.
_REST_S: Final = 0.2
_OUT_OF_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log: Final = logging.getLogger(__name__)


class Acceptor:
    """Accepts on `sock`, which listens and does not block and is its own from here on; on_socket gets the connections."""

    def __init__(self, sock: socket.socket, on_socket: Callable[[socket.socket], None]) -> None:
        self._sock = sock
        self._on_socket = on_socket
        self._loop = asyncio.get_running_loop()
        self._resting: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._on_readable)

    @property
    def resting(self) -> bool:
        """Whether connections wait because this process has no descriptor left for them."""
        return self._resting is not None

    @property
    def closed(self) -> bool:
        """Whether it no longer listens."""
        return self._sock.fileno() < 0

    def close(self) -> None:
        """Stop listening; connections that were made live on. Twice is once."""
        if self.closed:
            return
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _on_readable(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if self.closed:
                return  # by the one that was given the connection before
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_ROOM:
                    raise
                _log.warning("no connection can be taken for now: %s", error)
                self._loop.remove_reader(self._sock.fileno())
                self._resting = self._loop.call_later(_REST_S, self._listen_again)
                return
            self._on_socket(sock)

    def _listen_again(self) -> None:
        self._resting = None
        self._loop.add_reader(self._sock.fileno(), self._on_readable)
