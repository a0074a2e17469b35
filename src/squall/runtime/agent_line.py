"""The launcher's end of the connection to its agent: one at a time, never blocking."""

import os
import selectors
import socket
import stat
import struct
from collections import deque
from collections.abc import Callable

from squall.runtime import packet
from squall.wire.rights import close_all

# An agent that does not read for so many messages is no agent any more; it gets what matters again when it comes back.
_MOST_UNSENT = 10_000
_LONGEST_PATH = 107


class AgentLine:
    """One agent's connection. on_packet gets what it says; on_lost is called once, when it is gone."""

    def __init__(
        self,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        *,
        on_packet: Callable[[packet.Packet], None],
        on_lost: "Callable[[AgentLine], None]",
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._selector = selector
        self._on_packet = on_packet
        self._on_lost = on_lost
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._open = True
        selector.register(connection, selectors.EVENT_READ, self._on_ready)

    @classmethod
    def of(
        cls,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        *,
        on_packet: Callable[[packet.Packet], None],
        on_lost: "Callable[[AgentLine], None]",
    ) -> "AgentLine | None":
        """The line to who connected; None, and the connection closed, where that is another user."""
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] not in {os.geteuid(), 0}:
            connection.close()
            return None
        return cls(connection, selector, on_packet=on_packet, on_lost=on_lost)

    def send(self, message: dict[str, object], fds: tuple[int, ...] = ()) -> None:
        """Send, now or as soon as the agent reads; the descriptors stay the caller's."""
        if not self._open:
            return
        data = packet.encode(message)
        if not self._unsent and self._try(data, fds):
            return
        if len(self._unsent) >= _MOST_UNSENT:
            self._lose()
            return
        self._unsent.append((data, tuple(os.dup(fd) for fd in fds)))
        self._selector.modify(self._connection, selectors.EVENT_READ | selectors.EVENT_WRITE, self._on_ready)

    def close(self) -> None:
        """Close it, without a word to on_lost."""
        if self._open:
            self._open = False
            self._selector.unregister(self._connection)
            self._connection.close()
            for _, fds in self._unsent:
                close_all(fds)
            self._unsent.clear()

    def _on_ready(self) -> None:
        self._flush()
        while self._open:
            try:
                got = packet.heard(self._connection)
            except BlockingIOError:
                return
            if got is None:
                self._lose()
                return
            self._on_packet(got)

    def _flush(self) -> None:
        while self._open and self._unsent:
            data, fds = self._unsent[0]
            if not self._try(data, fds):
                return
            self._unsent.popleft()
            close_all(fds)
            if not self._unsent and self._open:
                self._selector.modify(self._connection, selectors.EVENT_READ, self._on_ready)

    def _try(self, data: bytes, fds: tuple[int, ...]) -> bool:
        """Whether it needs no second try: sent, or the agent is gone, which reading will find too."""
        try:
            packet.send_encoded(self._connection, data, fds)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _lose(self) -> None:
        self.close()
        self._on_lost(self)


def listen(path: str) -> socket.socket:
    """A socket that listens at `path`, for this user only; a dead one there before is replaced."""
    directory, name = os.path.split(os.path.abspath(path))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(f"{path} is there and is no socket")
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o077)
    try:
        # The kernel takes short paths only; through a descriptor every path is short.
        short = path if len(os.fsencode(path)) <= _LONGEST_PATH else f"/proc/self/fd/{directory_fd}/{name}"
        listener.bind(short)
        os.chmod(path, 0o700)
    finally:
        os.umask(before)
        os.close(directory_fd)
    listener.listen(16)
    listener.setblocking(False)
    return listener
