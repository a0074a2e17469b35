"""Dialing a WebSocket: through a proxy or not, and what is said when what answers is no Squall server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from squall.model.errors import InvalidError, PeerNotTrusted, UpgradeRefused
from squall.wire import tls
from squall.wire.codec import Frame, Kind
from squall.wire.dialing import dial_websocket
from squall.wire.upgrade import accept_key, parse_head, split_head
from tests.remote import LOOPS, PATIENCE_S, run, serving

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """The port of a server on loopback that does `answer` with each connection."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Proxy:
    """An HTTP proxy that leads everything to one port; asked: the first lines it got. login: what it wants to see."""

    def __init__(self, port: int, login: str | None = None) -> None:
        self._port = port
        self._login = login
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.splitlines()[0])
        if self._login is not None and f"Proxy-Authorization: {self._login}" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pour(reader, back), pour(there, writer))


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_websocket_goes_through_the_proxy_that_the_environment_wants(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            server.identity = server.authority.server("squall.example")
            server.endpoint.close()
            await server.listen()
            proxy = Proxy(server.port, "Basic dXNlcjpwYXNz")
            async with answering(proxy.answer) as port:
                monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{port}")
                context = tls.client_context(server.authority.file)
                url = "wss://squall.example:7443/squall/v1"
                dialed = await dial_websocket(url, context, headers={"Authorization": "Bearer secret"})
                _, peer = await server.next()
                assert proxy.asked == ["CONNECT squall.example:7443 HTTP/1.1"]
                assert peer.headers["authorization"] == "Bearer secret"
                got: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
                server.channels[-1].start(got.set_result, lambda _: None)
                dialed.send(Frame(Kind.DATA, 3, payload=b"x" * 100_000))
                assert len((await asyncio.wait_for(got, PATIENCE_S)).payload) == 100_000
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
                with pytest.raises(UpgradeRefused, match="407"):
                    await dial_websocket(url, context)
                dialed.close()

    run(loop, main)


def test_this_machine_is_never_reached_through_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")

    async def main() -> None:
        async with serving(tmp_path) as server:
            (await server.connect("websocket"))[0].close()

    run("asyncio", main)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 OK"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "none of HTTP"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "not to a Squall",
        ),
        (b"", "ended"),
        (b"HTTP/1.1 101\r\n" + b"x: " + b"y" * 20_000, "head of more than"),
    ],
)
def test_what_answers_and_is_no_squall_server_is_named(said: bytes, why: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async def main() -> None:
        async with answering(answer) as port:
            with pytest.raises(UpgradeRefused, match=why):
                await dial_websocket(f"ws://127.0.0.1:{port}/squall/v1", None)

    run("asyncio", main)


def test_a_websocket_without_tls_is_masked(tmp_path: Path) -> None:
    async def main() -> None:
        said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            found = split_head(head)
            assert found is not None
            key = parse_head(found[0]).fields["sec-websocket-key"]
            lines = ["HTTP/1.1 101 Yes", "Upgrade: websocket", "Connection: Upgrade"]
            lines += [f"Sec-WebSocket-Accept: {accept_key(key)}", "Sec-WebSocket-Protocol: squall.v1"]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            said.set_result(await reader.readexactly(100))
            writer.close()

        async with answering(answer) as port:
            dialed = await dial_websocket(f"ws://127.0.0.1:{port}/squall/v1", None)
            dialed.send(Frame(Kind.DATA, 1, payload=b"clear text " * 20))
            assert b"clear text" not in await asyncio.wait_for(said, PATIENCE_S)
            dialed.close()

    run("asyncio", main)


def test_a_server_of_another_authority_is_not_talked_to(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            with pytest.raises(PeerNotTrusted):
                await dial_websocket(f"wss://127.0.0.1:{server.port}/squall/v1", None)

    run("asyncio", main)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/squall/v1",
        "wss:///squall/v1",
        "wss://user:secret@example.com/squall/v1",
        "wss://example.com:port/squall/v1",
        "wss://[::1/squall/v1",
        "ws://127.0.0.1:1/a path",
    ],
)
def test_what_is_no_address_of_a_websocket_is_refused(url: str) -> None:
    with pytest.raises(InvalidError) as caught:
        asyncio.run(dial_websocket(url, None))
    assert "secret" not in str(caught.value)


def test_a_header_that_cannot_be_sent_is_refused_and_not_quoted(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            context = tls.client_context(server.authority.file)
            for value in ("secret\r\nX: y", "secret\u20ac"):
                with pytest.raises(InvalidError, match="Authorization") as caught:
                    await dial_websocket(
                        f"wss://127.0.0.1:{server.port}/squall/v1", context, headers={"Authorization": value}
                    )
                assert "secret" not in str(caught.value)

    run("asyncio", main)
