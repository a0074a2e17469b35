"""Tunnels: connections that the agent hands over, joined here with a port on which the user's code listens."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from typing import Final

from squall.wire.codec import Frame

_PIECE: Final = 64 * 1024
_CONNECT_S: Final = 5.0
_HERE: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def take(frame: Frame) -> None:
    """A connection has come for a port of this container; its bytes pass in a thread of their own until either side ends."""
    fds = frame.take_fds()
    port = frame.head().get("port")
    if len(fds) != 1 or not isinstance(port, int):
        for fd in fds:
            os.close(fd)
        return
    os.set_inheritable(fds[0], False)
    outside = socket.socket(fileno=fds[0])
    threading.Thread(target=_pass_on, args=(outside, port), name="squall-tunnel", daemon=True).start()


def _pass_on(outside: socket.socket, port: int) -> None:
    inside = _connect(port)
    # Whoever came to a port where nobody listens sees its connection end.
    with contextlib.ExitStack() as ends:
        ends.callback(outside.close)
        if inside is not None:
            ends.callback(inside.close)
            with contextlib.suppress(OSError):
                splice(outside, inside)


def _connect(port: int) -> socket.socket | None:
    for family, address in _HERE:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(_CONNECT_S)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
        else:
            return sock
    return None


class _Way:
    """One direction: bytes that were read and are not yet written, of which there is one piece at most."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.held = memoryview(b"")
        self.ended = False
        self.over = False

    def read(self) -> None:
        """Takes the next piece; none is left to come at its end."""
        data = self.source.recv(_PIECE)
        self.held = memoryview(data)
        self.ended = not data

    def write(self) -> None:
        """Gives what the other side takes; at the end it is told that no more comes."""
        if self.held:
            self.held = self.held[self.target.send(self.held) :]
        if self.ended and not self.held and not self.over:
            self.over = True
            with contextlib.suppress(OSError):
                self.target.shutdown(socket.SHUT_WR)


def splice(one: socket.socket, other: socket.socket) -> None:
    """Passes bytes both ways until both sides have ended. What one side does not take is not read from the other.

    Raises OSError when a side breaks off.
    """
    ways = (_Way(one, other), _Way(other, one))
    for sock in (one, other):
        sock.setblocking(False)
    while not all(way.over for way in ways):
        wants: dict[int, int] = {}
        for way in ways:
            if way.held:
                wants[way.target.fileno()] = wants.get(way.target.fileno(), 0) | select.POLLOUT
            elif not way.ended:
                wants[way.source.fileno()] = wants.get(way.source.fileno(), 0) | select.POLLIN
        poll = select.poll()
        for fd, events in wants.items():
            poll.register(fd, events)
        ready = dict(poll.poll())
        for way in ways:
            with contextlib.suppress(BlockingIOError):
                if not way.held and not way.ended and ready.get(way.source.fileno(), 0) & ~select.POLLOUT:
                    way.read()
                if way.held or way.ended:
                    way.write()
