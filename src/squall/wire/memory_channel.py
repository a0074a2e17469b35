"""The memory channel: two ends in one process, for tests, simulation and whatever needs no socket."""

from __future__ import annotations

import asyncio
from collections import deque

from squall.model.errors import ChannelClosed, ConnectionLost, FrameError, SquallError
from squall.wire.channel import DRAINED_BELOW, MAX_BUFFERED, OnClose, OnFrame, report
from squall.wire.codec import VIEW_FROM, Buffer, Frame, encode, length
from squall.wire.rights import close_all, duplicates


def pair() -> tuple[MemoryChannel, MemoryChannel]:
    """Two channels that are each other's peer, on the running event loop."""
    loop = asyncio.get_running_loop()
    left, right = MemoryChannel(loop), MemoryChannel(loop)
    left._peer, right._peer = right, left
    return left, right


class MemoryChannel:
    """A Channel whose frames wait in memory until the peer takes them; made by `pair`, see squall.wire.channel.

    What counts as buffered is what the peer has not taken: there is no kernel in between that holds some of it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._peer: MemoryChannel | None = None
        self._arrived: deque[tuple[Frame, int]] = deque()
        self._unread = 0
        self._drainers: list[tuple[int, asyncio.Future[None]]] = []
        self._on_frame: OnFrame | None = None
        self._on_close: OnClose | None = None
        self._paused = self._closed = self._ended = self._called = False

    def start(self, on_frame: OnFrame, on_close: OnClose) -> None:
        """See Channel.start."""
        self._on_frame, self._on_close = on_frame, on_close
        if self._closed:
            self._loop.call_soon(on_close, None)
        else:
            self._call()

    def send(self, frame: Frame, *more: Buffer) -> None:
        """See Channel.send."""
        if self._closed:
            raise ChannelClosed("the channel is closed, so nothing can be sent")
        buffers = encode(frame, *more)  # raises for what could not go over a socket
        size = sum(map(length, buffers))
        peer = self._peer
        if peer is None or peer._closed:
            return
        # A copy, in the form in which a socket would have received it.
        joined = b"".join((frame.payload, *more))
        payload = memoryview(bytearray(joined)) if len(joined) >= VIEW_FROM else joined
        sent = Frame(frame.kind, frame.stream, frame.route, frame.header, payload, duplicates(frame.fds))
        peer._arrived.append((sent, size))
        peer._unread += size
        peer._call()
        if peer._unread > MAX_BUFFERED:
            self._close(ConnectionLost(f"the other side does not read: {peer._unread} bytes wait for it"))

    @property
    def buffered(self) -> int:
        """See Channel.buffered."""
        return self._peer._unread if self._peer is not None else 0

    @property
    def local(self) -> bool:
        """See Channel.local."""
        return True

    @property
    def closed(self) -> bool:
        """See Channel.closed."""
        return self._closed

    async def drain(self, below: int = DRAINED_BELOW) -> None:
        """See Channel.drain."""
        while self.buffered >= below and not self._closed and not self._ended:
            waiter = self._loop.create_future()
            self._drainers.append((below, waiter))
            await waiter
        if self._closed or self._ended:
            raise ChannelClosed("the channel closed before everything was sent")

    async def passed(self, route: int) -> None:
        """See Channel.passed: here frames keep their order."""
        del route
        if self._closed or self._ended:
            raise ChannelClosed("the channel closed before everything was sent")

    def pause(self) -> None:
        """See Channel.pause."""
        self._paused = True

    def resume(self) -> None:
        """See Channel.resume."""
        self._paused = False
        self._call()

    def close(self) -> None:
        """See Channel.close."""
        self._close(None)

    def _call(self) -> None:
        """Have the loop hand out what has arrived."""
        if not self._called and (self._arrived or self._ended) and self._on_frame is not None:
            self._called = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._called = False
        while self._arrived and not self._paused and not self._closed:
            frame, size = self._arrived.popleft()
            self._unread -= size
            try:
                if self._on_frame is not None:
                    self._on_frame(frame)
            except FrameError as error:
                self._close(error)
            except Exception as error:  # noqa: BLE001 - a callback that fails may not hold up the frames behind it
                report(self._loop, error)
            finally:
                close_all(frame.take_fds())
        if self._peer is not None:
            self._peer._wake_drainers()
        if self._ended and not self._arrived and not self._paused:
            self._close(None)
        elif self._arrived and not self._paused:
            self._call()  # reading was paused and resumed

    def _wake_drainers(self) -> None:
        still = []
        for below, waiter in self._drainers:
            if self.buffered >= below and not self._closed and not self._ended:
                still.append((below, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._drainers = still

    def _close(self, error: SquallError | None) -> None:
        if self._closed:
            return
        self._closed = True
        for frame, _ in self._arrived:
            close_all(frame.take_fds())
        self._arrived.clear()
        self._unread = 0
        self._wake_drainers()
        if self._peer is not None and not self._peer._closed:
            self._peer._ended = True
            self._peer._wake_drainers()
            self._peer._call()
        if self._on_close is not None:
            self._loop.call_soon(self._on_close, error)
