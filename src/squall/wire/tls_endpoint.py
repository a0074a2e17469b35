"""The TLS endpoint: one port of a server for frames over TLS and for WebSockets."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from squall.model.errors import ConnectionLost, FrameError, ListenRefused, SquallError
from squall.wire.accepting import Acceptor
from squall.wire.byte_link import ByteLink
from squall.wire.channel import report
from squall.wire.dialing import PREFACE
from squall.wire.tls_bytes import TlsBytes
from squall.wire.transport_channel import TransportChannel
from squall.wire.upgrade import Refusal, accept, judge_request, parse_head, split_head
from squall.wire.websocket import WebSocket

_BACKLOG: Final = 512
# How long a connection may take to say what it is, and how many may be about to.
GREETING_S: Final = 10.0
MOST_GREETING: Final = 256
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsPeer:
    """Who is at the other end of a connection from another machine.

    address: "host:port". certificate: the client's (DER), verified against our own CA; None where it gave none.
    headers: of the request that opened a WebSocket, names in small letters; empty for a connection of frames alone.
    """

    address: str
    certificate: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


OnConnect: TypeAlias = Callable[[TransportChannel, TlsPeer], None]


async def serve_tls(
    host: str, port: int, context: ssl.SSLContext | None, on_connect: OnConnect
) -> TlsEndpoint:
    """Listen at `host` and `port` (0 for any that is free); on_connect gets a channel for each connection, and starts it.

    host: "" for all addresses of this machine. context: None for no TLS, for a proxy on this machine that speaks it. A
    channel to a peer without a certificate takes no files (`most_attached` is 0) until whoever learns who it is says so.
    Raises OSError, when the address is in use for example, ListenRefused without TLS beyond loopback.
    """
    everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - whoever asks for it gets it
    found = await asyncio.get_running_loop().getaddrinfo(host or everywhere, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = found[0]
    if context is None and not ipaddress.ip_address(address[0]).is_loopback:
        raise ListenRefused(f"{host} is reached from other machines: without TLS it is not listened on")
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and not host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return TlsEndpoint(sock, context, on_connect)


class TlsEndpoint:
    """A listening socket whose connections go to on_connect once they have said what they are; made by `serve_tls`.

    address: (host, port) that it listens at.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, on_connect: OnConnect) -> None:
        host, port, *_ = sock.getsockname()
        self.address: tuple[str, int] = (host, port)
        self._context = context
        self._on_connect = on_connect
        self._loop = asyncio.get_running_loop()
        self._greeting: dict[asyncio.Task[None], None] = {}
        self._acceptor = Acceptor(sock, self._take)

    @property
    def resting(self) -> bool:
        """Whether connections wait because this process has no descriptor left for them."""
        return self._acceptor.resting

    @property
    def greeting(self) -> int:
        """How many connections have not yet said what they are."""
        return len(self._greeting)

    def close(self) -> None:
        """Stop listening, and end the connections that have not said what they are; the others live on. Twice is once."""
        self._acceptor.close()
        for task in self._greeting:
            task.cancel()

    def _take(self, sock: socket.socket) -> None:
        if len(self._greeting) >= MOST_GREETING:
            # The one that has taken longest gives way: whoever means it is done within milliseconds.
            oldest = next(iter(self._greeting))
            del self._greeting[oldest]
            oldest.cancel()
        task = self._loop.create_task(self._greet(sock))
        self._greeting[task] = None
        task.add_done_callback(lambda ended: self._greeting.pop(ended, None))

    async def _greet(self, sock: socket.socket) -> None:
        """Find out what a connection is, and give it to on_connect."""
        try:
            _, link = await self._loop.connect_accepted_socket(ByteLink, sock)
        except OSError as error:
            _log.info("a connection ended before it began: %s", error)
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        try:
            async with asyncio.timeout(GREETING_S):
                if self._context is not None:
                    await link.start_tls(TlsBytes(self._context, server_side=True))
                made = await self._channel(link)
            if made is not None:
                self._hand_over(*made)
        except (SquallError, OSError) as error:
            _log.info("a connection from %s said nothing that is understood: %r", link.address, error)
            link.abort()
        except BaseException:
            link.abort()
            raise

    def _hand_over(self, channel: TransportChannel, peer: TlsPeer) -> None:
        if peer.certificate is None:
            channel.most_attached = 0
        try:
            self._on_connect(channel, peer)
        except Exception as error:  # noqa: BLE001 - whoever takes connections may fail with one and not with the next
            channel.close()
            report(self._loop, error)

    async def _channel(self, link: ByteLink) -> tuple[TransportChannel, TlsPeer] | None:
        """The channel that a connection becomes, by its first bytes; None where it becomes none and was ended."""
        certificate = link.certificate
        said = b""
        while len(said) < len(PREFACE) and PREFACE.startswith(said):
            said += await self._more(link)
        if said.startswith(PREFACE):
            link.unread(said[len(PREFACE) :])
            return TransportChannel(link), TlsPeer(address=link.address, certificate=certificate)
        if not said[:1].isalpha():
            raise FrameError("the first bytes are neither Squall's nor HTTP")
        try:
            while (found := split_head(said)) is None:
                said += await self._more(link)
            head = parse_head(found[0])
        except ValueError as error:
            _refuse(link, Refusal(status=400, sentence=f"This was {error}."))
            return None
        key = judge_request(head)
        if isinstance(key, Refusal):
            _refuse(link, key)
            return None
        link.write([accept(key)])
        link.unread(found[1])
        peer = TlsPeer(address=link.address, certificate=certificate, headers=head.fields)
        return TransportChannel(link, WebSocket(None)), peer

    async def _more(self, link: ByteLink) -> bytes:
        data = await link.read()
        if not data:
            raise ConnectionLost("it ended before it had said what it is")
        return data


def _refuse(link: ByteLink, refusal: Refusal) -> None:
    link.write([refusal.answer()])
    link.close()
