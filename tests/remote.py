"""Connections between machines for tests: an endpoint on loopback with certificates of its own, and who dials it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import importlib.util
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from squall.wire import tls
from squall.wire.attachments import MOST_ATTACHED
from squall.wire.dialing import dial_tls, dial_websocket
from squall.wire.tls_endpoint import TlsEndpoint, TlsPeer, serve_tls
from squall.wire.transport_channel import TransportChannel
from tests.certificates import Authority

PATIENCE_S = 20.0
LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]


class Server:
    """An endpoint whose channels wait in `arrived`, in the order in which they came."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.arrived: asyncio.Queue[tuple[TransportChannel, TlsPeer]] = asyncio.Queue()
        self.channels: list[TransportChannel] = []
        self.endpoint: TlsEndpoint
        self.identity = self.authority.server()

    async def listen(self) -> None:
        """Listen on loopback, at a free port."""
        context = tls.server_context(self.identity.certificate, self.identity.key, self.authority.file)
        self.endpoint = await serve_tls("127.0.0.1", 0, context, self._take)

    def _take(self, channel: TransportChannel, peer: TlsPeer) -> None:
        self.channels.append(channel)
        self.arrived.put_nowait((channel, peer))

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.endpoint.address[1]

    async def next(self) -> tuple[TransportChannel, TlsPeer]:
        """The next connection."""
        return await asyncio.wait_for(self.arrived.get(), PATIENCE_S)

    async def connect(self, kind: str = "tls") -> tuple[TransportChannel, TransportChannel]:
        """Both ends of a new connection that takes files: who dialed, and the server's."""
        context = tls.client_context(self.authority.file)
        if kind == "tls":
            dialed = await dial_tls("127.0.0.1", self.port, context)
        else:
            dialed = await dial_websocket(f"wss://127.0.0.1:{self.port}/squall/v1", context)
        answering, _ = await self.next()
        answering.most_attached = MOST_ATTACHED
        return dialed, answering


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    """A server that listens while the block runs."""
    server = Server(folder)
    await server.listen()
    try:
        yield server
    finally:
        server.endpoint.close()
        for channel in server.channels:
            channel.close()
        await settle()


async def settle() -> None:
    """Let what was closed be closed: both ends are in this process, and each answers the other's end."""
    for _ in range(20):
        await asyncio.sleep(0.001)


def run(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` on asyncio's own loop or on uvloop."""
    if loop == "asyncio":
        asyncio.run(main())
        return
    uvloop: Any = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def open_files() -> int:
    """How many descriptors this process has open, without those of objects that are garbage, as loops that are over."""
    gc.collect()
    return len(os.listdir("/dev/fd"))


@functools.cache
def warm_up() -> None:
    """Have every kind of loop run once: the first of uvloop opens descriptors that stay."""
    for loop in LOOPS:
        run(loop, settle)
