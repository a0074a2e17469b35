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
from squall.wire import memory_channel
from squall.wire.address import Peer
from squall.wire.channel import Channel
from squall.wire.socket_channel import SocketChannel, dial, serve

LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]


async def make(kind: str, directory: Path) -> tuple[Channel, Channel]:
    if kind == "memory":
        return memory_channel.pair()
    loop = asyncio.get_running_loop()
    if kind == "socketpair":
        left, right = socket.socketpair()
        return SocketChannel(left, loop), SocketChannel(right, loop)
    accepted: asyncio.Future[SocketChannel] = loop.create_future()

    def on_connect(new: SocketChannel, _: Peer) -> None:
        accepted.set_result(new)

    endpoint = serve(directory / "channel.sock", on_connect)
    dialed = await dial(directory / "channel.sock")
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
@pytest.mark.parametrize("kind", ["socketpair", "path", "memory"])
@pytest.mark.parametrize("check", channel.CHECKS, ids=lambda check: check.__name__)
def test_channel(loop: str, kind: str, check: channel.Check, tmp_path: Path) -> None:
    async def main() -> None:
        left, right = await make(kind, tmp_path)
        try:
            await check(left, right)
        finally:
            left.close()
            right.close()

    run(loop, main)
