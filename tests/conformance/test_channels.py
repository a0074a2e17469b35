"""All channels pass the same checks, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from squall.testing.conformance import channel
from squall.testing.conformance.channel_seen import Check
from squall.wire import memory_channel, tls
from squall.wire.address import Peer
from squall.wire.channel import Channel
from squall.wire.dialing import dial_tls, dial_websocket
from squall.wire.socket_channel import SocketChannel, dial, serve
from squall.wire.tls_endpoint import serve_tls
from squall.wire.transport_channel import TransportChannel
from tests.certificates import Authority

LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]

ONE_MACHINE = ["socketpair", "path", "memory"]
MACHINES = ["tls", "websocket"]


async def make(kind: str, directory: Path) -> tuple[Channel, Channel]:
    if kind == "memory":
        return memory_channel.pair()
    loop = asyncio.get_running_loop()
    if kind == "socketpair":
        left, right = socket.socketpair()
        return SocketChannel(left, loop), SocketChannel(right, loop)
    if kind in MACHINES:
        return await make_remote(kind, directory)
    accepted: asyncio.Future[SocketChannel] = loop.create_future()

    def on_connect(new: SocketChannel, _: Peer) -> None:
        accepted.set_result(new)

    endpoint = serve(directory / "channel.sock", on_connect)
    dialed = await dial(directory / "channel.sock")
    answering = await accepted
    endpoint.close()
    return dialed, answering


async def make_remote(kind: str, directory: Path) -> tuple[Channel, Channel]:
    """The two ends of a connection over TLS or a WebSocket on it, with certificates of both."""
    authority = Authority(directory)
    server, client = authority.server(), authority.client()
    accepted: asyncio.Future[TransportChannel] = asyncio.get_running_loop().create_future()
    endpoint = await serve_tls(
        "127.0.0.1",
        0,
        tls.server_context(server.certificate, server.key, authority.file),
        lambda new, _: accepted.set_result(new),
    )
    context = tls.client_context(authority.file, cert_file=client.certificate, key_file=client.key)
    host, port = endpoint.address
    if kind == "tls":
        dialed = await dial_tls(host, port, context)
    else:
        dialed = await dial_websocket(f"wss://{host}:{port}/squall/v1", context)
    answering = await accepted
    endpoint.close()
    return dialed, answering


def run(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    if loop == "asyncio":
        asyncio.run(main())
        return
    uvloop: Any = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", ONE_MACHINE + MACHINES)
@pytest.mark.parametrize("check", channel.CHECKS, ids=lambda check: check.__name__)
def test_channel(loop: str, kind: str, check: Check, tmp_path: Path) -> None:
    run_check(loop, kind, check, tmp_path)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", ONE_MACHINE)
@pytest.mark.parametrize("check", channel.DESCRIPTOR_CHECKS, ids=lambda check: check.__name__)
def test_descriptors(loop: str, kind: str, check: Check, tmp_path: Path) -> None:
    run_check(loop, kind, check, tmp_path)


def run_check(loop: str, kind: str, check: Check, tmp_path: Path) -> None:
    async def main() -> None:
        left, right = await make(kind, tmp_path)
        try:
            await check(left, right)
        finally:
            left.close()
            right.close()

    run(loop, main)
