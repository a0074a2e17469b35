"""The socket channel: frames over a connected stream socket, UNIX or TCP."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from squall.model.errors import ChannelClosed, ConnectionLost, FrameError, SquallError
from squall.wire.address import Peer, check_peer, connect_at_once
from squall.wire.batch import batch_of
from squall.wire.channel import DRAINED_BELOW, MAX_BUFFERED, OnClose, OnFrame, report
from squall.wire.codec import Buffer, Frame, encode, length
from squall.wire.endpoint import Endpoint, listen
from squall.wire.hang_ups import hang_ups_of
from squall.wire.rights import (
    ANCILLARY_SIZE,
    CUT,
    KERNEL_BUFFER,
    MOST_BUFFERS,
    NO_ROOM,
    NO_ROOM_REST_S,
    NOT_NOW,
    READ_FLAGS,
    Arrivals,
    after,
    close_all,
    duplicates,
    rights,
)

_READ_SIZE: Final = 64 * 1024
# In a batch, what the first frames caused does not wait for the last of them.
_FLUSH_EVERY: Final = 16


OnConnect: TypeAlias = "Callable[[SocketChannel, Peer], None]"


async def dial(path: str | Path, *, timeout_s: float = 5.0, uid: int | None = None) -> SocketChannel:
    """A channel to the socket at `path`, on which `uid` listens (this process's user by default).

    Raises OSError: FileNotFoundError, ConnectionRefusedError, TimeoutError when the listener's line stays full for
    timeout_s; PeerRefused when another user listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        async with asyncio.timeout(timeout_s):
            wait_s = 0.001
            while not connect_at_once(sock, path):
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, 0.05)
        check_peer(sock, uid)
        return SocketChannel(sock, asyncio.get_running_loop())
    except BaseException:
        sock.close()
        raise


def serve(path: str | Path, on_connect: OnConnect, *, mode: int = 0o600, uid: int | None = None) -> Endpoint:
    """Listen at `path` from now on; on_connect gets a channel for each connection of `uid`, and starts it.

    mode: permissions of the socket. uid: this process's user by default; others are refused and logged.
    Raises like `squall.wire.endpoint.listen`.
    """
    loop = asyncio.get_running_loop()
    return listen(path, lambda sock, peer: on_connect(SocketChannel(sock, loop), peer), mode=mode, uid=uid)


class SocketChannel:
    """A Channel over `sock`, a connected stream socket that it owns from here on; see squall.wire.channel.

    loop: the event loop it lives on, the running one by default.
    """

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop | None = None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._fileno = sock.fileno()
        self._loop = loop or asyncio.get_running_loop()
        self._batch = batch_of(self._loop)
        self._hang_ups = hang_ups_of(self._loop)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
        if sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._passes_fds = sock.family == getattr(socket, "AF_UNIX", None)
        self._arrivals = Arrivals()
        self._decoder = self._arrivals.decoder
        self._undelivered: deque[Frame] = deque()
        self._outgoing: deque[tuple[Buffer, tuple[int, ...]]] = deque()
        self._buffered = 0
        self._drainers: list[tuple[int, asyncio.Future[None]]] = []
        self._on_frame: OnFrame = _nobody
        self._on_close: OnClose | None = None
        self._error: SquallError | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._reading = self._writing = self._paused = self._closed = self._deaf = self._started = False

    def start(self, on_frame: OnFrame, on_close: OnClose) -> None:
        """See Channel.start."""
        self._on_frame, self._on_close, self._started = on_frame, on_close, True
        if self._closed:
            self._loop.call_soon(on_close, self._error)
        elif not self._paused:
            self._read_on()

    def send(self, frame: Frame, *more: Buffer) -> None:
        """See Channel.send."""
        if self._closed:
            raise ChannelClosed("the channel is closed, so nothing can be sent")
        buffers = encode(frame, *more)
        fds = frame.fds
        if fds and not self._passes_fds:
            raise FrameError("descriptors only go over UNIX sockets")
        if self._outgoing or self._batch.open:
            self._keep(buffers, duplicates(fds) if fds else fds)
            return
        if self._deaf:
            return
        try:
            if len(buffers) == 1 and not fds:
                sent = self._sock.send(buffers[0])
            else:
                sent = self._sock.sendmsg(buffers[:MOST_BUFFERS], rights(fds))
        except OSError as error:
            if error.errno in NOT_NOW or error.errno in NO_ROOM:
                self._keep(buffers, duplicates(fds))
            else:
                self._lose_peer(error)
        else:
            rest = after(buffers, sent)
            if rest:
                self._keep(rest, ())

    @property
    def buffered(self) -> int:
        """See Channel.buffered."""
        return self._buffered

    @property
    def local(self) -> bool:
        """See Channel.local."""
        return self._passes_fds

    @property
    def closed(self) -> bool:
        """See Channel.closed."""
        return self._closed

    async def drain(self, below: int = DRAINED_BELOW) -> None:
        """See Channel.drain."""
        while self._buffered >= below and not self._closed:
            waiter = self._loop.create_future()
            self._drainers.append((below, waiter))
            await waiter
        if self._closed or self._deaf:
            raise ChannelClosed("the channel closed before everything was sent")

    async def passed(self, route: int) -> None:
        """See Channel.passed: here frames keep their order."""
        del route
        if self._closed or self._deaf:
            raise ChannelClosed("the channel closed before everything was sent")

    def pause(self) -> None:
        """See Channel.pause."""
        self._paused = True
        self._read_off()

    def resume(self) -> None:
        """See Channel.resume."""
        if not self._paused:
            return
        self._paused = False
        if self._undelivered:
            self._loop.call_soon(self._deliver)
        elif self._started and not self._closed:
            self._read_on()

    def close(self) -> None:
        """See Channel.close."""
        self._close(None)

    # -- reading

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._fileno, self._on_readable)
            if self._hang_ups is not None:
                self._hang_ups.add(self._fileno, self._read_out)

    def _read_off(self) -> None:
        if self._reading:
            self._reading = False
            if self._hang_ups is not None:
                self._hang_ups.remove(self._fileno)
            self._loop.remove_reader(self._fileno)

    def _read_out(self) -> None:
        """The other side is gone: takes what it has left, up to the end."""
        more = True
        while more and self._reading:
            try:
                more = self._on_readable()
            except Exception as error:  # noqa: BLE001 - a callback that fails may not hold up the frames behind it
                report(self._loop, error)

    def _on_readable(self) -> bool:
        """Reads once, and hands out what that has completed; whether there was anything, also an end."""
        try:
            hole = self._decoder.hole()
            if hole is None:
                data, ancillary, flags, _ = self._sock.recvmsg(_READ_SIZE, ANCILLARY_SIZE, READ_FLAGS)
                count = len(data)
            else:
                count, ancillary, flags, _ = self._sock.recvmsg_into([hole], ANCILLARY_SIZE, READ_FLAGS)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._close(ConnectionLost(f"the connection broke: {error}"))
            return True
        try:
            if ancillary or flags & CUT:
                self._arrivals.note(ancillary, flags)
            if not count:
                self._at_end()
                return True
            done = self._decoder.feed(data) if hole is None else self._decoder.filled(count)
            if len(done) == 1 and not done[0][1] and not self._arrivals.waiting:
                # The single call: nothing to look after.
                self._on_frame(done[0][0])
                return True
            frames = self._arrivals.sort(done)
        except FrameError as error:
            self._close(error)
            return True
        self._hand_out(frames)
        return True

    def _at_end(self) -> None:
        if not self._decoder.idle:
            self._close(ConnectionLost("the connection ended within a frame"))
        elif self._deaf:
            self._close(ConnectionLost("the other side went away while this one was sending"))
        else:
            self._close(None)

    def _hand_out(self, frames: list[Frame]) -> None:
        self._undelivered.extend(frames)
        if len(frames) == 1:
            self._deliver()
            return
        self._batch.begin()
        try:
            self._deliver()
        finally:
            self._batch.handled()

    def _deliver(self) -> None:
        """Give out the frames that have arrived, until there is none or reading is paused."""
        waiting, handled = self._undelivered, 0
        while waiting and not self._paused and not self._closed:
            frame = waiting.popleft()
            handled += 1
            if not handled % _FLUSH_EVERY and self._batch.open:
                self._batch.flush()
            try:
                self._on_frame(frame)
            except FrameError as error:
                self._close(error)
            except Exception as error:  # noqa: BLE001 - a callback that fails may not hold up the frames behind it
                report(self._loop, error)
            finally:
                if frame.fds:
                    close_all(frame.take_fds())
        if not self._paused and not self._closed:
            self._read_on()

    # -- writing

    def _keep(self, buffers: list[Buffer], fds: tuple[int, ...]) -> None:
        """Put `buffers` in line, the first with descriptors that are the channel's own."""
        if self._deaf:
            close_all(fds)
            return
        if not self._outgoing:
            if self._batch.open:
                self._batch.add(self)
            else:
                self._write_on()
        for buffer in buffers:
            self._outgoing.append((buffer, fds))
            self._buffered += length(buffer)
            fds = ()
        if self._buffered > MAX_BUFFERED:
            self._close(ConnectionLost(f"the other side does not read: {self._buffered} bytes wait for it"))

    def flush(self) -> None:
        """Write what was kept for the end of a batch."""
        if not self._outgoing or self._writing or self._resting is not None:
            return
        self._write()
        if self._outgoing and self._resting is None:
            self._write_on()
        if self._drainers:
            self._wake_drainers()

    def _write_on(self) -> None:
        self._writing = True
        self._loop.add_writer(self._fileno, self._on_writable)

    def _on_writable(self) -> None:
        self._write()
        if not self._outgoing:
            self._write_off()
        self._wake_drainers()

    def _write_off(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fileno)

    def _rest(self) -> None:
        """The socket is writable and the kernel has no room (for descriptors on their way, say): try again soon."""
        self._write_off()
        self._resting = self._loop.call_later(NO_ROOM_REST_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.flush()

    def _write(self) -> None:
        """Write until there is nothing left or the kernel takes no more."""
        while self._outgoing:
            buffers, fds = self._next_write()
            try:
                sent = self._sock.sendmsg(buffers, rights(fds))
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._rest()
                elif error.errno not in NOT_NOW:
                    self._lose_peer(error)
                return
            self._sent(sent, fds)

    def _next_write(self) -> tuple[list[Buffer], tuple[int, ...]]:
        """What one sendmsg takes: descriptors go with the first byte of their own frame, so they begin a write."""
        buffers: list[Buffer] = []
        first_fds = self._outgoing[0][1]
        for buffer, fds in self._outgoing:
            if (fds and buffers) or len(buffers) == MOST_BUFFERS:
                break
            buffers.append(buffer)
        return buffers, first_fds

    def _sent(self, count: int, fds: tuple[int, ...]) -> None:
        self._buffered -= count
        outgoing = self._outgoing
        if fds:
            outgoing[0] = (outgoing[0][0], ())
            close_all(fds)
        while outgoing:
            buffer = outgoing[0][0]
            size = length(buffer)
            if count < size:
                if count:
                    outgoing[0] = (memoryview(buffer)[count:], ())
                return
            count -= size
            outgoing.popleft()

    def _lose_peer(self, error: OSError) -> None:
        """Nothing can be sent any more; what the peer said before it went is still read, up to its end."""
        self._deaf = True
        self._drop_outgoing()
        self._wake_drainers(everyone=True)
        if error.errno in {errno.EPIPE, errno.ECONNRESET}:
            return  # the end will be read
        self._close(ConnectionLost(f"the connection broke: {error}"))

    def _wake_drainers(self, *, everyone: bool = False) -> None:
        still = []
        for below, waiter in self._drainers:
            if everyone or self._buffered < below:
                if not waiter.done():
                    waiter.set_result(None)
            else:
                still.append((below, waiter))
        self._drainers = still

    def _drop_outgoing(self) -> None:
        self._write_off()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        for _, fds in self._outgoing:
            close_all(fds)
        self._outgoing.clear()
        self._buffered = 0

    def _close(self, error: SquallError | None) -> None:
        if self._closed:
            return
        if error is None:
            self.flush()  # what was said just before is not lost to a batch
        self._closed, self._error = True, error
        self._read_off()
        self._drop_outgoing()
        self._wake_drainers(everyone=True)
        self._arrivals.close()
        for frame in self._undelivered:
            close_all(frame.take_fds())
        self._undelivered.clear()
        self._sock.close()
        if self._on_close is not None:
            self._loop.call_soon(self._on_close, error)


def _nobody(frame: Frame) -> None:
    """Where frames would go before `start`."""
