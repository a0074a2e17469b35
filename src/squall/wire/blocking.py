"""The blocking link: frames over a stream socket for a program with threads and no event loop."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from typing import Final

from squall.model.errors import ChannelClosed, ConnectionLost, FrameError
from squall.wire.codec import Buffer, Frame, encode
from squall.wire.rights import (
    ANCILLARY_SIZE,
    CUT,
    KERNEL_BUFFER,
    MOST_BUFFERS,
    NO_ROOM,
    NO_ROOM_REST_S,
    READ_FLAGS,
    Arrivals,
    after,
    close_all,
    rights,
)

_READ_SIZE: Final = 64 * 1024
_AT_ONCE: Final = int(getattr(socket, "MSG_DONTWAIT", 0))


class BlockingLink:
    """Frames over `sock`, a connected blocking UNIX stream socket that it owns from here on.

    One thread receives at a time; any thread may send, and `close` ends both.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
        self._sock = sock
        self._arrivals = Arrivals()
        self._decoder = self._arrivals.decoder
        self._frames: deque[Frame] = deque()
        self._sending = threading.Lock()
        self._closed = False

    def recv(self) -> Frame | None:
        """The next frame, None once the other side has closed in good order (or this side has).

        The caller owns the descriptors in it and has to close them. Raises FrameError when the peer broke the
        protocol, ConnectionLost when the connection broke or ended within a frame; the link is closed then.
        """
        while not self._frames:
            try:
                if not self._read():
                    return None
            except FrameError:
                self.close()
                raise
        return self._frames.popleft()

    def recv_ready(self) -> list[Frame] | None:
        """The frames that are here, none when nothing is, None at the end; waits only for the rest of a frame.

        For whoever was told that `fileno` is readable. Otherwise like `recv`.
        """
        try:
            if not self._read(READ_FLAGS | _AT_ONCE):
                return None
            while not self._frames and not self._decoder.idle:
                if not self._read():
                    return None
        except BlockingIOError:
            return []
        except FrameError:
            self.close()
            raise
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def fileno(self) -> int:
        """The socket's descriptor, to wait until it is readable; -1 once the link is closed."""
        return self._sock.fileno()

    def send(self, frame: Frame, *more: Buffer) -> None:
        """Send `frame`, its payload continued by the buffers in `more`; returns when all of it is in the kernel.

        The caller keeps and closes its own descriptors. Raises ChannelClosed, ConnectionLost when the other side is
        gone, FrameError for a frame beyond the limits.
        """
        buffers = encode(frame, *more)
        ancillary = rights(frame.fds)
        with self._sending:
            if self._closed:
                raise ChannelClosed("the link is closed, so nothing can be sent")
            while buffers:
                try:
                    sent = self._sock.sendmsg(buffers[:MOST_BUFFERS], ancillary)
                except OSError as error:
                    if error.errno not in NO_ROOM or self._closed:
                        raise ConnectionLost(f"the connection broke: {error}") from error
                    time.sleep(NO_ROOM_REST_S)
                    continue
                ancillary = []
                buffers = after(buffers, sent)

    def close(self) -> None:
        """End the link; a thread that waits in `recv` gets None, one in `send` gets ConnectionLost. Twice is once."""
        if self._closed:
            return
        self._closed = True
        try:
            # Closing alone would leave another thread waiting in recvmsg.
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        with self._sending:
            self._sock.close()
        for frame in self._frames:
            close_all(frame.take_fds())
        self._frames.clear()
        self._arrivals.close()

    def _read(self, read_flags: int = READ_FLAGS) -> bool:
        hole = self._decoder.hole()
        try:
            if hole is None:
                data, ancillary, flags, _ = self._sock.recvmsg(_READ_SIZE, ANCILLARY_SIZE, read_flags)
                count = len(data)
            else:
                count, ancillary, flags, _ = self._sock.recvmsg_into([hole], ANCILLARY_SIZE, read_flags)
        except BlockingIOError:
            raise
        except OSError as error:
            if self._closed:
                return False
            self.close()
            raise ConnectionLost(f"the connection broke: {error}") from error
        if ancillary or flags & CUT:
            self._arrivals.note(ancillary, flags)
        if not count:
            return self._ended()
        done = self._decoder.feed(data) if hole is None else self._decoder.filled(count)
        self._frames.extend(self._arrivals.sort(done))
        return True

    def _ended(self) -> bool:
        within, closed = not self._decoder.idle, self._closed
        self.close()
        if within and not closed:
            raise ConnectionLost("the connection ended within a frame")
        return False
