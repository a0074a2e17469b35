"""Tunnels of a machine: what opens one, what refuses it, and how bytes go through to a runner and back."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from squall.agent.launcher_link import LauncherLink
from squall.agent.relay import LocalContainer
from squall.agent.tunnels import MOST_CONNECTIONS, MOST_OF_A_CONTAINER, Tunnels
from squall.model.errors import Error, NotFoundError, TooManyTunnels, TunnelRefused, TunnelUnavailable
from squall.runner import tunnels as inside
from squall.settings.options import Options
from squall.wire.blocking import BlockingLink
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.socket_channel import SocketChannel
from squall.wire.stream import Stream
from tests.certificates import Authority

pytestmark = pytest.mark.needs("linux")


@contextmanager
def echo() -> Iterator[int]:
    """A server that sends back what comes, on the loopback that stands for the container's; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=back, args=(sock,), daemon=True).start()

        def back(sock: socket.socket) -> None:
            with sock:
                while data := sock.recv(65536):
                    sock.sendall(data)

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@dataclass
class Machine:
    """The agent's tunnels, one container with its runner's link, and a server that asks for tunnels."""

    tunnels: Tunnels
    present: dict[str, LocalContainer]
    server: Session
    open_streams: list[Stream]

    async def ask(self, **head: Any) -> dict[str, Any]:
        """Where the tunnel is. Raises what the agent answers."""
        told: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def on_frame(frame: Frame) -> None:
            if not told.done():
                told.set_result(frame)

        stream = self.server.open("tunnel", {"container": "co-1", "port": 1, **head}, on_frame=on_frame)
        self.open_streams.append(stream)
        frame = await told
        if frame.kind is Kind.FAIL:
            raise Error.from_wire(frame.head())
        return frame.head()


@asynccontextmanager
async def machine(*, remote: bool = False, level: str = "sandbox", **options: Any) -> AsyncIterator[Machine]:
    ours, theirs = socket.socketpair()
    local = LocalContainer(
        id="co-1", function="f", launcher=cast("LauncherLink", None), route=1, pid=1, init_pid=1, level=level
    )
    local.channel = SocketChannel(ours)
    local.channel.start(lambda _frame: None, lambda _error: None)
    present = {"co-1": local}

    def run() -> None:
        link = BlockingLink(theirs)
        while (frame := link.recv()) is not None:
            assert frame.head()["t"] == "tunnel"
            inside.take(frame)

    threading.Thread(target=run, daemon=True).start()
    tunnels = Tunnels(Options(**options), present.get, remote=remote)
    left, right = pair()
    tasks: set[asyncio.Task[None]] = set()

    def on_open(stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
        async def work() -> None:
            try:
                await tunnels.open(stream, head)
            except Error as refused:
                stream.fail(refused)

        task = asyncio.get_running_loop().create_task(work())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    Session(right, dialer=False, on_open=on_open)
    server = Session(left, dialer=True)
    try:
        yield Machine(tunnels, present, server, [])
    finally:
        tunnels.container_gone("co-1")
        server.close()
        local.channel.close()


async def sent(address: tuple[str, int], data: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection(*address, ssl=tls)
    writer.write(data)
    await writer.drain()
    back = await asyncio.wait_for(reader.readexactly(len(data)), 20)
    writer.close()
    return back


def test_bytes_go_through_and_the_end_of_the_stream_closes_it() -> None:
    async def play() -> None:
        with echo() as port:
            async with machine() as here:
                head = await here.ask(port=port)
                address = (head["host"], head["port"])
                assert head["host"] == "127.0.0.1"
                assert not head["tls"]
                data = bytes(range(256)) * 8192
                assert await sent(address, data) == data
                here.open_streams[0].cancel()
                with pytest.raises(OSError):
                    for _ in range(100):
                        await sent(address, b"x")
                        await asyncio.sleep(0.05)

    asyncio.run(play())


def test_a_tunnel_asked_for_again_has_its_port_where_that_is_free() -> None:
    async def play() -> None:
        async with machine() as here:
            first = await here.ask()
            taken = await here.ask(again=first["port"])
            assert taken["port"] != first["port"]
            here.open_streams[0].cancel()
            for _ in range(100):
                again = await here.ask(again=first["port"])
                if again["port"] == first["port"]:
                    return
                here.open_streams[-1].cancel()
                await asyncio.sleep(0.05)
            raise AssertionError("its port never became free")

    asyncio.run(play())


def test_the_end_of_a_container_ends_what_passes() -> None:
    async def play() -> None:
        with echo() as port:
            async with machine() as here:
                head = await here.ask(port=port)
                reader, writer = await asyncio.open_connection(head["host"], head["port"])
                writer.write(b"x")
                assert await asyncio.wait_for(reader.readexactly(1), 20) == b"x"
                here.tunnels.container_gone("co-1")
                assert await asyncio.wait_for(reader.read(), 20) == b""
                writer.close()

    asyncio.run(play())


def test_there_are_limits() -> None:
    async def play() -> None:
        async with machine() as here:
            for _ in range(MOST_OF_A_CONTAINER):
                await here.ask()
            with pytest.raises(TooManyTunnels):
                await here.ask()
        async with machine(tunnels=1) as here:
            await here.ask()
            with pytest.raises(TooManyTunnels):
                await here.ask()
        async with machine(tunnels=0) as here:
            with pytest.raises(TunnelRefused):
                await here.ask()

    asyncio.run(play())


def test_connections_beyond_the_limit_are_turned_away() -> None:
    async def play() -> None:
        with echo() as port:
            async with machine() as here:
                head = await here.ask(port=port)
                ends = []
                for _ in range(MOST_CONNECTIONS):
                    reader, writer = await asyncio.open_connection(head["host"], head["port"])
                    writer.write(b"x")
                    assert await asyncio.wait_for(reader.readexactly(1), 20) == b"x"
                    ends.append(writer)
                reader, writer = await asyncio.open_connection(head["host"], head["port"])
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await asyncio.wait_for(reader.readexactly(1), 20)
                for one in (*ends, writer):
                    one.close()

    asyncio.run(play())


def test_a_machine_elsewhere_says_why_its_loopback_is_of_no_use() -> None:
    async def play() -> None:
        async with machine(remote=True) as here:
            with pytest.raises(TunnelUnavailable, match="another machine"):
                await here.ask()
        async with machine(remote=True, tunnel_address="0.0.0.0") as here:
            with pytest.raises(TunnelUnavailable, match="certificate"):
                await here.ask()
            head = await here.ask(unencrypted=True)
            assert not head["tls"]

    asyncio.run(play())


def test_what_cannot_be_reached_says_so() -> None:
    async def play() -> None:
        async with machine(level="gvisor") as here:
            with pytest.raises(TunnelUnavailable, match="gVisor"):
                await here.ask()
        async with machine(tunnel_address="192.0.2.1") as here:
            with pytest.raises(TunnelRefused, match=r"192\.0\.2\.1"):
                await here.ask(unencrypted=True)
        async with machine() as here:
            with pytest.raises(NotFoundError):
                await here.ask(container="co-2")

    asyncio.run(play())


def test_a_certificate_encrypts(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.server()
    trusts = ssl.create_default_context(cafile=str(authority.file))

    async def play() -> None:
        certificate, key = str(identity.certificate), str(identity.key)
        with echo() as port:
            async with machine(tunnel_certificate=certificate, tunnel_key=key) as here:
                head = await here.ask(port=port)
                assert head["tls"]
                data = b"secret" * 20_000
                assert await sent((head["host"], head["port"]), data, trusts) == data
        async with machine(tunnel_certificate=str(tmp_path / "none.pem")) as here:
            with pytest.raises(TunnelRefused, match="certificate"):
                await here.ask()

    asyncio.run(play())
