"""Dialing: a channel to a server on another machine, over TLS or over a WebSocket."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from squall.model.errors import UpgradeRefused
from squall.settings.proxy import Proxy, proxy_for
from squall.wire.byte_link import ByteLink, bracketed
from squall.wire.tls_bytes import TlsBytes
from squall.wire.transport_channel import TransportChannel
from squall.wire.upgrade import (
    HttpHead,
    judge_answer,
    judge_tunnel,
    parse_head,
    parse_url,
    request,
    split_head,
    tunnel_request,
)
from squall.wire.websocket import MASK_SIZE, NO_MASK, WebSocket

# What a side that dials says before its first frame, so that a server knows whom it has there.
PREFACE: Final = b"SQUALL/1\n"
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


async def dial_tls(
    host: str,
    port: int,
    context: ssl.SSLContext,
    *,
    server_name: str | None = None,
    timeout_s: float = 10.0,
) -> TransportChannel:
    """A channel to the server at `host` and `port` over TLS by `context` (squall.wire.tls has them).

    server_name: the name that its certificate has to have, `host` by default. Raises OSError (ConnectionRefusedError,
    TimeoutError among them), PeerNotTrusted, ConnectionLost.
    """
    async with asyncio.timeout(timeout_s):
        link = await connect(host, port)
        try:
            await link.start_tls(TlsBytes(context, server_side=False, server_name=server_name or host))
            link.write([PREFACE])
            return TransportChannel(link)
        except BaseException:
            link.abort()
            raise


async def dial_websocket(
    url: str,
    context: ssl.SSLContext | None,
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    timeout_s: float = 10.0,
) -> TransportChannel:
    """A channel to the server at `url` (wss://host:port/squall/v1) over a WebSocket.

    context: None for the authorities that this machine trusts. headers: further fields of the request. It goes through
    the proxy that HTTPS_PROXY and NO_PROXY want. Raises like `dial_tls`, UpgradeRefused where no WebSocket is opened,
    InvalidError for what is no such address, a header that cannot be sent, or a proxy that cannot be used.
    """
    place = parse_url(url)
    proxy = proxy_for("https" if place.secure else "http", place.host, place.port, os.environ)
    key = os.urandom(16)
    asked = request(place, key, headers)
    async with asyncio.timeout(timeout_s):
        link = await connect(*((place.host, place.port) if proxy is None else (proxy.host, proxy.port)))
        try:
            if proxy is not None:
                await _tunnel(link, bracketed(place.host, place.port), proxy)
            if place.secure:
                trust = context or ssl.create_default_context()
                await link.start_tls(TlsBytes(trust, server_side=False, server_name=place.host))
            link.write([asked])
            judge_answer(await _answer(link), key)
            return TransportChannel(link, WebSocket((lambda: NO_MASK) if place.secure else _any_mask))
        except BaseException:
            link.abort()
            raise


def _any_mask() -> bytes:
    return os.urandom(MASK_SIZE)


async def _tunnel(link: ByteLink, authority: str, proxy: Proxy) -> None:
    link.write([tunnel_request(authority, proxy.authorization)])
    judge_tunnel(await _answer(link))


async def _answer(link: ByteLink) -> HttpHead:
    """The head of the answer to a request; what comes behind it is left for the next to read."""
    said = b""
    try:
        while (found := split_head(said)) is None:
            data = await link.read()
            if not data:
                raise UpgradeRefused("the connection was ended in place of an answer")
            said += data
        head = parse_head(found[0])
    except ValueError as error:
        raise UpgradeRefused(f"the answer is not understood: {error}") from None
    link.unread(found[1])
    return head


async def connect(host: str, port: int) -> ByteLink:
    """A link to `host` and `port`. Raises OSError."""
    _, link = await asyncio.get_running_loop().create_connection(ByteLink, host, port)
    return link
