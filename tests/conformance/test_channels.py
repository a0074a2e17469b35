"""All channels pass the same checks, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from squall.testing.conformance import channel
from squall.testing.conformance.channel_seen import Check
from squall.wire import memory_channel
from squall.wire.address import Peer
from squall.wire.channel import Channel
from squall.wire.socket_channel import SocketChannel, dial, serve
from tests.remote import LOOPS, Server, run

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
        server = Server(directory)
        await server.listen()
        ends = await server.connect(kind)
        server.endpoint.close()
        return ends
    accepted: asyncio.Future[SocketChannel] = loop.create_future()

    def on_connect(new: SocketChannel, _: Peer) -> None:
        accepted.set_result(new)

    endpoint = serve(directory / "channel.sock", on_connect)
    dialed = await dial(directory / "channel.sock")
    answering = await accepted
    endpoint.close()
    return dialed, answering


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
