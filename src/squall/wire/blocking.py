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


class BlockingLink:
    """Frames over `sock`, a connected blocking UNIX stream socket that it owns from here on.

    One thread receives; any thread may send, and `close` ends both.
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

    def _read(self) -> bool:
        hole = self._decoder.hole()
        try:
            if hole is None:
                data, ancillary, flags, _ = self._sock.recvmsg(_READ_SIZE, ANCILLARY_SIZE, READ_FLAGS)
                count = len(data)
            else:
                count, ancillary, flags, _ = self._sock.recvmsg_into([hole], ANCILLARY_SIZE, READ_FLAGS)
        except OSError as error:
            if self._closed:
                return False
            self.close()
            raise ConnectionLost(f"the connection broke: {error}") from error
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
