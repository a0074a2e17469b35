"""The byte link: one connection of an event loop, with TLS on it or without, as bytes in and bytes out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final, Protocol, cast

from squall.model.errors import ConnectionLost, SquallError
from squall.wire.codec import Buffer
from squall.wire.tls_bytes import TlsBytes

_READ_SIZE: Final = 256 * 1024
# What waits in the kernel and has not been sent yet. More of it would hold up every small frame behind large ones.
_UNSENT: Final = 128 * 1024
# What may wait before it is known what the connection is.
_MOST_EARLY: Final = 64 * 1024
# How long an end that was closed in order waits for the other side to read it.
_LINGER_S: Final = 2.0
# A connection that is idle is asked after so long, then so often; one that gets no answer for so long is over.
_IDLE_S, _ASK_EVERY_S, _ASK_TIMES, _SILENT_MS = 15, 5, 4, 30_000


class Taker(Protocol):
    """Who takes the bytes of a link."""

    def hole(self) -> memoryview | None:
        """Where the next bytes may be put directly; `filled` is told how many were."""
        ...

    def filled(self, count: int) -> None:
        """So many bytes were put into the hole."""
        ...

    def take(self, data: bytes) -> None:
        """These bytes have arrived."""
        ...

    def room(self) -> None:
        """All that was written is out of this process."""
        ...

    def ended(self, error: SquallError | None) -> None:
        """Nothing more arrives: None when the other side has ended in order."""
        ...


class ByteLink(asyncio.BufferedProtocol):
    """The protocol of one transport. First `read` gives what arrives; after `hand_over` it goes to a Taker.

    address: of the other side, "host:port". full: whether something that was written still waits in this process.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scratch = memoryview(bytearray(_READ_SIZE))
        self._transport: asyncio.Transport | None = None
        self._tls: TlsBytes | None = None
        self._taker: Taker | None = None
        self._early = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._in_hole = False
        self._error: SquallError | None = None
        self._over = self._closed = self._gone = False
        self._lingering: asyncio.TimerHandle | None = None
        self.full = False
        self.address = ""

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = cast("asyncio.Transport", transport)
        # No room at all: then the transport says whenever it keeps something, and when it no longer does.
        self._transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
            _tune(sock)
        self.address = _written(transport.get_extra_info("peername"))

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        del sizehint
        if self._tls is None and self._taker is not None and not self._closed:
            hole = self._taker.hole()
            if hole is not None:
                self._in_hole = True
                return hole
        self._in_hole = False
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        if self._closed:
            return  # lingering: what still comes is of no interest
        if self._in_hole:
            cast("Taker", self._taker).filled(nbytes)
        elif self._tls is None:
            self._give(bytes(self._scratch[:nbytes]))
        else:
            self._tls.receive(self._scratch[:nbytes])
            self._read_tls()

    def eof_received(self) -> bool:
        """See asyncio.BaseProtocol."""
        if self._closed:
            self.abort()
        elif self._tls is None:
            self._end(None)
        else:
            self._tls.receive_end()
            self._read_tls()
            if not self._over:
                self._end(ConnectionLost("the connection was cut off"))
        return True  # whoever takes the bytes closes

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._gone, self.full = True, False
        self._end(ConnectionLost(f"the connection broke: {exc}" if exc else "the connection ended"))

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.full = True

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.full = False
        if self._taker is not None and not self._closed:
            self._taker.room()

    # -- before there is a taker

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises ConnectionLost when the connection broke."""
        while not self._early:
            if self._error is not None:
                raise self._error
            if self._over:
                return b""
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = bytes(self._early)
        self._early.clear()
        self.resume()
        return data

    async def start_tls(self, tls: TlsBytes) -> None:
        """Shake hands; from then on both directions go through `tls`. Raises PeerNotTrusted, ConnectionLost."""
        try:
            while not self._shake(tls):
                data = await self.read()
                if data:
                    tls.receive(data)
                else:
                    tls.receive_end()
        except SquallError:
            self._write_raw(tls.to_send())  # the alert, which says why
            raise
        self._tls = tls
        if self._early:
            tls.receive(bytes(self._early))
            self._early.clear()
        self._read_tls()

    def unread(self, data: bytes) -> None:
        """Put back what was read too much: the next `read`, or the taker, gets it first."""
        self._early[:0] = data

    def hand_over(self, taker: Taker) -> None:
        """Have `taker` get all that arrives from now on, beginning with what nobody has read; from the loop."""
        early, self._early = bytes(self._early), bytearray()
        self._taker = taker
        if early:
            taker.take(early)
        if self._over and not self._closed:
            taker.ended(self._error)

    # -- for either

    @property
    def certificate(self) -> bytes | None:
        """The other side's certificate (DER), None where it gave none or there is no TLS."""
        return self._tls.certificate if self._tls is not None else None

    @property
    def waiting(self) -> int:
        """Bytes that were written and are not yet out of this process."""
        return self._transport.get_write_buffer_size() if self._transport is not None and self.full else 0

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Send `buffers`; never waits. What cannot go out now is kept, and `full` says so."""
        if self._closed or self._gone or self._transport is None:
            return
        if self._tls is not None:
            try:
                self._tls.write(buffers)
            except ConnectionLost as error:
                self._end(error)
                return
            self._write_raw(self._tls.to_send())
        elif len(buffers) == 1:
            self._transport.write(buffers[0])
        else:
            self._transport.writelines(buffers)

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._transport is not None and not self._closed and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._closed and not self._transport.is_reading():
            self._transport.resume_reading()

    def close(self) -> None:
        """End in order: the other side gets what was written, and then the end."""
        if self._closed or self._transport is None:
            return
        if self._tls is not None:
            self._tls.end()
            self._write_raw(self._tls.to_send())
        if self._over or self._transport.is_closing() or not self._transport.can_write_eof():
            self._closed = True
            self._transport.close()
            return
        self.resume()
        self._closed = True
        try:
            self._transport.write_eof()
        except OSError:
            self._transport.abort()  # the other side is gone, which was not noticed yet
            return
        # Closed at once, whatever the other side has said meanwhile would make the kernel throw away what it was told.
        self._lingering = self._loop.call_later(_LINGER_S, self.abort)

    def abort(self) -> None:
        """End now; what still waits in this process is dropped."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    # -- inside

    def _shake(self, tls: TlsBytes) -> bool:
        done = tls.shake()
        self._write_raw(tls.to_send())
        return done

    def _write_raw(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _read_tls(self) -> None:
        tls = cast("TlsBytes", self._tls)
        try:
            while not self._closed and self._read_record(tls):
                pass
        except ConnectionLost as error:
            self._end(error)
        if not self._closed:
            self._write_raw(tls.to_send())  # what TLS itself has to answer

    def _read_record(self, tls: TlsBytes) -> bool:
        """Pass on what the next record holds; whether there may be another."""
        hole = self._taker.hole() if self._taker is not None else None
        if hole is not None and self._taker is not None:
            count = tls.read_into(hole)
            if count:
                self._taker.filled(count)
                return True
            data = None if count is None else b""
        else:
            data = tls.read()
        if data:
            self._give(data)
            return True
        if data is not None:
            self._end(None)
        return False

    def _give(self, data: bytes) -> None:
        if self._taker is not None:
            self._taker.take(data)
            return
        self._early += data
        if len(self._early) >= _MOST_EARLY:
            self.pause()  # nobody has said anything that takes so much
        self._wake()

    def _end(self, error: SquallError | None) -> None:
        if self._over:
            return
        self._over, self._error = True, error
        if self._taker is not None:
            if not self._closed:
                self._taker.ended(error)
        else:
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _tune(sock: socket.socket) -> None:
    """Small frames leave at once, and a machine that is gone is noticed. What an operating system lacks is left out."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE_S),
        ("TCP_KEEPINTVL", _ASK_EVERY_S),
        ("TCP_KEEPCNT", _ASK_TIMES),
        ("TCP_USER_TIMEOUT", _SILENT_MS),
        ("TCP_NOTSENT_LOWAT", _UNSENT),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def bracketed(host: str, port: int) -> str:
    """A host and a port as people write them: an address with colons in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _written(address: object) -> str:
    """An address as the socket module gives it, as text."""
    if not isinstance(address, tuple) or len(address) < 2:
        return str(address or "")
    return bracketed(str(address[0]), int(address[1]))
