"""The transport channel: frames over a byte link, which may be TCP, TLS, or either with a WebSocket on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from squall.model.errors import ChannelClosed, ConnectionLost, FrameError, SquallError
from squall.wire.attachments import Inbox, Outbox
from squall.wire.batch import batch_of
from squall.wire.byte_link import ByteLink
from squall.wire.channel import DRAINED_BELOW, MAX_BUFFERED, OnClose, OnFrame, report
from squall.wire.codec import Buffer, Decoder, Frame, Kind, encode, length
from squall.wire.rights import close_all
from squall.wire.websocket import NORMAL, WRONG, WebSocket

_PIECE: Final = Kind.PIECE
# In a batch, what the first frames caused does not wait for the last of them.
_FLUSH_EVERY: Final = 16
# One write takes so much; after so much in one go, other work of the loop has its turn.
_WRITE_SIZE: Final = 256 * 1024
_AT_ONCE: Final = 1024 * 1024
# A peer that asks and does not read gets no answer beyond this many bytes.
_REPLY_BELOW: Final = 1024 * 1024


class TransportChannel:
    """A Channel over `link`, which it owns from here on; see squall.wire.channel. Made by dialing and serving.

    websocket: the one that is open on the link, if there is one.
    address: of the other side, "host:port". certificate: the other side's (DER), None where it gave none.
    """

    def __init__(self, link: ByteLink, websocket: WebSocket | None = None) -> None:
        self._link, self._websocket = link, websocket
        self._loop = asyncio.get_running_loop()
        self._batch = batch_of(self._loop)
        self._decoder = Decoder(pieces=True)
        self._undelivered: deque[Frame] = deque()
        self._outgoing: deque[Buffer] = deque()
        self._queued = 0
        self._gone = 0  # bytes that have left the line
        self._outbox, self._inbox = Outbox(), Inbox()
        self._drainers: list[tuple[int, asyncio.Future[None]]] = []
        self._passers: list[asyncio.Future[None]] = []
        self._on_frame: OnFrame = _nobody
        self._on_close: OnClose | None = None
        self._error: SquallError | None = None
        self._paused = self._closed = self._started = self._ended = self._flushing = False
        self.address = link.address
        self.certificate = link.certificate
        link.pause()
        link.hand_over(self)

    def start(self, on_frame: OnFrame, on_close: OnClose) -> None:
        """See Channel.start."""
        self._on_frame, self._on_close, self._started = on_frame, on_close, True
        if self._closed:
            self._loop.call_soon(on_close, self._error)
        elif not self._paused:
            self._loop.call_soon(self._deliver)

    def send(self, frame: Frame, *more: Buffer) -> None:
        """See Channel.send."""
        if self._closed:
            raise ChannelClosed("the channel is closed, so nothing can be sent")
        buffers = encode(frame, *more)
        if self._ended:
            return
        if frame.fds:
            self._outbox.add(frame, buffers)
            self._flush_soon()
        elif self._outbox and self._outbox.holds(frame.route, frame.stream):
            self._outbox.put(frame, buffers)
            self._check_memory()
        elif self._outgoing or self._batch.open or self._link.full:
            self._keep(buffers)
        else:
            self._write(buffers)

    @property
    def buffered(self) -> int:
        """See Channel.buffered."""
        return self._queued + self._outbox.held + self._link.waiting

    @property
    def local(self) -> bool:
        """See Channel.local."""
        return False

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

    @property
    def most_attached(self) -> int:
        """What the files of each direction may have together that are on their way, in bytes; the same at both sides.

        0: none come or go. More than that sent here closes the channel.
        """
        return self._inbox.most_bytes

    @most_attached.setter
    def most_attached(self, most_bytes: int) -> None:
        self._inbox.most_bytes = self._outbox.most_bytes = most_bytes

    async def passed(self, route: int) -> None:
        """See Channel.passed."""
        while self._outbox.holds_route(route):
            waiter = self._loop.create_future()
            self._passers.append(waiter)
            await waiter
        if self._closed or self._ended:
            raise ChannelClosed("the channel closed before everything was sent")

    def pause(self) -> None:
        """See Channel.pause."""
        self._paused = True
        self._link.pause()

    def resume(self) -> None:
        """See Channel.resume."""
        if not self._paused:
            return
        self._paused = False
        if self._started:
            self._loop.call_soon(self._deliver)

    def close(self) -> None:
        """See Channel.close."""
        self._close(None)

    # -- what the link calls

    def hole(self) -> memoryview | None:
        """See Taker.hole."""
        return self._decoder.hole() if self._websocket is None else None

    def filled(self, count: int) -> None:
        """See Taker.filled."""
        self._arrived(self._decoder.filled(count))

    def take(self, data: bytes) -> None:
        """See Taker.take."""
        try:
            if self._websocket is None:
                self._arrived(self._decoder.feed(data))
            else:
                self._take_message(self._websocket, data)
        except FrameError as error:
            self._close(error)

    def room(self) -> None:
        """See Taker.room."""
        self.flush()

    def ended(self, error: SquallError | None) -> None:
        """See Taker.ended."""
        if self._websocket is not None and error is None:
            error = ConnectionLost("the connection ended, but its WebSocket did not")
        self._say_end(error)

    def _say_end(self, error: SquallError | None) -> None:
        """Nothing more arrives, and why; on_close says so behind the frames that have arrived."""
        if self._ended or self._closed:
            return
        if not self._decoder.idle:
            error = error or ConnectionLost("the connection ended within a frame")
        self._ended, self._error = True, error
        self._drop_outgoing()
        if not self._undelivered:
            self._close(error)

    # -- reading

    def _take_message(self, websocket: WebSocket, data: bytes) -> None:
        received = websocket.receive(data)
        if received.reply and self._link.waiting < _REPLY_BELOW:
            self._link.write([received.reply])
        self._arrived([one for piece in received.data for one in self._decoder.feed(bytes(piece))])
        if received.closed:
            self._say_end(None)

    def _arrived(self, done: Sequence[tuple[Frame, int]]) -> None:
        if self._closed or not done:
            return
        if len(done) == 1 and not self._undelivered and self._started and not self._paused:
            frame, claimed = done[0]
            if frame.kind is not _PIECE and not claimed:
                # The single call: nothing to look after.
                self._hand_out(frame)
                return
        try:
            for frame, claimed in done:
                if frame.kind is _PIECE:
                    self._inbox.take(frame)
                    continue
                if claimed:
                    self._inbox.claim(frame, claimed)
                self._undelivered.append(frame)
        except (FrameError, ConnectionLost) as error:
            self._close(error)
            return
        if self._undelivered and self._started and not self._paused:
            self._batch.begin()
            try:
                self._deliver()
            finally:
                self._batch.handled()

    def _deliver(self) -> None:
        """Give out the frames that have arrived, until there is none or reading is paused."""
        waiting, handled = self._undelivered, 0
        while waiting and not self._paused and not self._closed:
            handled += 1
            if not handled % _FLUSH_EVERY and self._batch.open:
                self._batch.flush()
            self._hand_out(waiting.popleft())
        if self._closed or self._paused:
            return
        if self._ended:
            self._close(self._error)
        else:
            self._link.resume()

    def _hand_out(self, frame: Frame) -> None:
        try:
            self._on_frame(frame)
        except FrameError as error:
            self._close(error)
        except Exception as error:  # noqa: BLE001 - a callback that fails may not hold up the frames behind it
            report(self._loop, error)
        finally:
            if frame.fds:
                close_all(frame.take_fds())

    # -- writing

    def _keep(self, buffers: Sequence[Buffer]) -> None:
        """Put `buffers` in line."""
        if not self._outgoing and self._batch.open:
            self._batch.add(self)
        for buffer in buffers:
            self._outgoing.append(buffer)
            self._queued += length(buffer)
        self._check_memory()

    def _check_memory(self) -> None:
        if self.buffered > MAX_BUFFERED:
            self._close(ConnectionLost(f"the other side does not read: {self.buffered} bytes wait for it"))

    def _flush_soon(self) -> None:
        if self._batch.open:
            self._batch.add(self)
        else:
            self.flush()

    def flush(self) -> None:
        """Write what is in line, as far as the link takes it: pieces of files one by one between other frames."""
        left = _AT_ONCE
        while left > 0 and not self._link.full and not self._closed:
            written = self._write_some() + self._write_piece()
            if not written:
                break
            left -= written
        if left <= 0 and not self._link.full and not self._flushing and not self._closed:
            self._flushing = True
            self._loop.call_soon(self._flush_on)
        if self._drainers:
            self._wake_drainers()

    def _flush_on(self) -> None:
        self._flushing = False
        self.flush()

    def _write_some(self) -> int:
        """Write the first that are in line; how many bytes these were."""
        group: list[Buffer] = []
        size = 0
        while self._outgoing and size < _WRITE_SIZE:
            buffer = self._outgoing.popleft()
            group.append(buffer)
            size += length(buffer)
        if group:
            self._queued -= size
            self._gone += size
            self._write(group)
        return size

    def _write_piece(self) -> int:
        """Write the next piece of a file, if one may go now; how many bytes it was."""
        if not self._outbox or self._link.full or self._closed:
            return 0
        self._outbox.passed(self._gone)
        piece, freed = self._outbox.next()
        if freed:
            # Behind what is in line, where earlier frames of their stream may be.
            self._outgoing.extend(freed)
            self._queued += sum(map(length, freed))
            self._outbox.note_released(self._gone + self._queued)
            self._wake_passers()
        if piece:
            self._write(piece)
        return sum(map(length, piece))

    def _write(self, buffers: Sequence[Buffer]) -> None:
        self._link.write(buffers if self._websocket is None else self._websocket.wrap(buffers))

    # -- ending

    def _wake_drainers(self, *, everyone: bool = False) -> None:
        still, buffered = [], self.buffered
        for below, waiter in self._drainers:
            if not everyone and buffered >= below:
                still.append((below, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._drainers = still

    def _wake_passers(self) -> None:
        passers, self._passers = self._passers, []
        for waiter in passers:
            if not waiter.done():
                waiter.set_result(None)

    def _drop_outgoing(self) -> None:
        self._outgoing.clear()
        self._queued = 0
        self._outbox.close()
        self._wake_passers()
        self._wake_drainers(everyone=True)

    def _close(self, error: SquallError | None) -> None:
        if self._closed:
            return
        if error is None:
            self.flush()  # what was said just before is not lost to a batch
        dropping = bool(self._outgoing or self._outbox) or self._link.full
        self._closed, self._error = True, error
        self._drop_outgoing()
        for frame in self._undelivered:
            close_all(frame.take_fds())
        self._undelivered.clear()
        self._inbox.close()
        if dropping:
            self._link.abort()
        else:
            if self._websocket is not None:
                self._link.write([self._websocket.end(WRONG if isinstance(error, FrameError) else NORMAL)])
            self._link.close()
        if self._on_close is not None:
            self._loop.call_soon(self._on_close, error)


def _nobody(frame: Frame) -> None:
    """Where frames would go before `start`."""
