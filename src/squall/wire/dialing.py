"""Dialing: a channel to a server on another machine, over TLS or over a WebSocket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final

from squall.model.errors import FeatureUnavailable
from squall.wire.byte_link import ByteLink
from squall.wire.tls_bytes import TlsBytes
from squall.wire.transport_channel import TransportChannel

# What a side that dials says before its first frame, so that a server knows whom it has there.
PREFACE: Final = b"SQUALL/1\n"


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
    url: str, context: ssl.SSLContext | None, *, headers: Mapping[str, str] = {}, timeout_s: float = 10.0
) -> TransportChannel:
    """A channel to the server at `url` (wss://host:port/squall/v1) over a WebSocket."""
    raise FeatureUnavailable(
        f"{url} cannot be dialed yet: WebSockets come ({context}, {headers}, {timeout_s})"
    )


async def connect(host: str, port: int) -> ByteLink:
    """A link to `host` and `port`. Raises OSError."""
    _, link = await asyncio.get_running_loop().create_connection(ByteLink, host, port)
    return link
