"""Serving other machines: who is let in, what a port says to strangers, and what they cannot use up."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from squall.model.errors import ConnectionLost, PeerNotTrusted
from squall.wire import tls, tls_endpoint
from squall.wire.codec import Frame, Kind
from squall.wire.dialing import PREFACE, dial_tls, dial_websocket
from squall.wire.transport_channel import TransportChannel
from tests.certificates import Authority
from tests.remote import LOOPS, PATIENCE_S, Server, run, serving, settle

both_loops = pytest.mark.parametrize("loop", LOOPS)


async def end_of(channel: TransportChannel) -> Exception | None:
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    channel.start(lambda _: None, ended.set_result)
    return await asyncio.wait_for(ended, PATIENCE_S)


async def raw(server: Server, said: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """What the server answers to these bytes over TLS, until it ends."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=context or tls.client_context(server.authority.file)
    )
    try:
        writer.write(said)
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    finally:
        writer.close()


@both_loops
def test_the_server_learns_who_the_client_is(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            known = server.authority.client("agent")
            context = tls.client_context(
                server.authority.file, cert_file=known.certificate, key_file=known.key
            )
            first = await dial_tls("127.0.0.1", server.port, context)
            _, peer = await server.next()
            assert peer.certificate == known.der
            assert peer.address == f"127.0.0.1:{peer.address.rpartition(':')[2]}"
            assert first.certificate == server.identity.der
            second = await dial_tls("localhost", server.port, tls.client_context(ca_pem=server.authority.pem))
            assert (await server.next())[1].certificate is None
            first.close()
            second.close()

    run(loop, main)


def test_a_client_talks_to_nobody_but_the_server_of_its_authority(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            stranger = tls.client_context(Authority(tmp_path / "other", "other").file)
            with pytest.raises(PeerNotTrusted, match="certificate"):
                await dial_tls("127.0.0.1", server.port, stranger)
            with pytest.raises(PeerNotTrusted, match="example"):
                await dial_tls(
                    "127.0.0.1",
                    server.port,
                    tls.client_context(server.authority.file),
                    server_name="squall.example",
                )
            unnamed = tls.client_context(server.authority.file, check_name=False)
            (await dial_tls("127.0.0.1", server.port, unnamed, server_name="squall.example")).close()
            assert server.arrived.qsize() <= 1

    asyncio.run(main())


@pytest.mark.parametrize("wrong", ["another authority", "expired", "a server's"])
def test_a_certificate_that_is_none_of_a_client_of_ours_is_refused(wrong: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            shown = {
                "another authority": Authority(tmp_path / "other").client,
                "expired": lambda: server.authority.client("late", expired=True),
                "a server's": server.authority.server,
            }[wrong]()
            context = tls.client_context(
                server.authority.file, cert_file=shown.certificate, key_file=shown.key
            )
            # In TLS 1.3 a client learns what the server thinks of its certificate with the first bytes it reads.
            channel = await dial_tls("127.0.0.1", server.port, context)
            assert isinstance(await end_of(channel), ConnectionLost)
            assert server.arrived.empty()

    asyncio.run(main())


def test_nothing_older_than_tls_1_3_is_spoken(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.load_verify_locations(server.authority.file)
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError, match=r"(?i)version"):
                await raw(server, b"", old)

    asyncio.run(main())


def test_a_server_that_is_known_by_its_authoritys_fingerprint_alone_is_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            expected = tls.fingerprint(server.authority.der)
            first = await dial_tls("127.0.0.1", server.port, tls.pinned_context())
            # On that connection the server is asked for its authority, whose bytes may come from anybody.
            told = tls.der_of(server.authority.pem)
            with pytest.raises(PeerNotTrusted, match=tls.fingerprint(server.identity.der)):
                tls.verify_pin(first.certificate, expected)
            with pytest.raises(PeerNotTrusted, match="none"):
                tls.verify_pin(None, expected)
            pem = tls.pem_of(tls.verify_pin(told, ":".join([expected[:2].upper(), expected[2:]])))
            second = await dial_tls("127.0.0.1", server.port, tls.client_context(ca_pem=pem))
            first.close()
            second.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /squall/v1 HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"POST /squall/v1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /squall/v1 HTTP/1.0\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /squall/v1 HTTP/1.1\r\nHost: x\r\n : \r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000, 400),
        (b"SQUALL/9\n\r\n\r\n", 400),
    ],
)
def test_whoever_speaks_http_is_told_what_is_here(said: bytes, status: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            answer = await raw(server, said)
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert b"Squall" in answer
            assert len(answer) < 1_000
            assert server.arrived.empty()

    asyncio.run(main())


@pytest.mark.parametrize("said", [b"\x00" * 30, b"\x01\x01", b"\xff", PREFACE[:4]])
def test_whoever_speaks_nothing_that_is_known_is_cut_off(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_endpoint, "GREETING_S", 0.2)

    async def main() -> None:
        async with serving(tmp_path) as server:
            with pytest.raises((ConnectionError, ssl.SSLError)):
                assert not await raw(server, said)
                raise ConnectionResetError
            assert server.endpoint.greeting == 0
            assert server.arrived.empty()

    asyncio.run(main())


def test_who_says_nothing_is_cut_off_and_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_endpoint, "MOST_GREETING", 8)

    async def main() -> None:
        async with serving(tmp_path) as server:
            silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
            dialed, _ = await server.connect()
            assert server.endpoint.greeting <= 8
            dialed.send(Frame(Kind.PING))
            # The oldest gave way; the others have their time.
            for reader, _ in silent[:11]:
                with pytest.raises(ConnectionResetError):
                    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
                    raise ConnectionResetError
            for _, writer in silent:
                writer.close()
            dialed.close()
        assert server.endpoint.greeting == 0

    asyncio.run(main())


def test_who_never_ends_a_handshake_is_cut_off_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_endpoint, "GREETING_S", 0.1)

    async def main() -> None:
        async with serving(tmp_path) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"\x16\x03\x01\x02\x00\x01")  # a handshake begins like this
            with pytest.raises(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
                raise ConnectionResetError
            writer.close()
            await settle()
            assert server.endpoint.greeting == 0

    asyncio.run(main())


@both_loops
def test_a_server_without_room_for_a_connection_takes_it_later(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            lowest_free = os.dup(sock.fileno())
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
            try:
                sock.connect(("127.0.0.1", server.port))
                await settle()
                assert (server.endpoint.resting, server.endpoint.greeting) == (True, 0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            async with asyncio.timeout(PATIENCE_S):
                while not server.endpoint.greeting:
                    await asyncio.sleep(0.01)
            sock.close()

    run(loop, main)


def test_an_endpoint_that_closes_frees_its_port_and_keeps_its_connections(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            dialed, answering = await server.connect()
            halfway = await asyncio.open_connection("127.0.0.1", server.port)
            await settle()
            server.endpoint.close()
            server.endpoint.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            got: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
            answering.start(got.set_result, lambda _: None)
            dialed.send(Frame(Kind.DATA, 1))
            assert (await asyncio.wait_for(got, PATIENCE_S)).stream == 1
            halfway[1].close()
            dialed.close()
            answering.close()
            await settle()

    asyncio.run(main())


def test_a_port_that_is_taken_and_a_name_that_is_none_are_told_apart(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            context = tls.server_context(
                server.identity.certificate, server.identity.key, server.authority.file
            )
            with pytest.raises(OSError) as caught:
                await tls_endpoint.serve_tls("127.0.0.1", server.port, context, lambda *_: None)
            assert caught.value.errno == errno.EADDRINUSE
        client = tls.client_context(server.authority.file)
        with pytest.raises(ConnectionRefusedError):
            await dial_tls("127.0.0.1", server.port, client)
        with pytest.raises(socket.gaierror):
            await dial_tls("no-such-host.invalid", 1, client)

    asyncio.run(main())


@pytest.mark.parametrize("way", ["tls", "websocket"])
def test_a_server_that_never_answers_is_given_up(way: str, tmp_path: Path) -> None:
    async def main() -> None:
        silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        context = tls.client_context(Authority(tmp_path).file)
        dials: dict[str, Callable[[], object]] = {
            "tls": lambda: dial_tls("127.0.0.1", port, context, timeout_s=0.1),
            "websocket": lambda: dial_websocket(f"ws://127.0.0.1:{port}/squall/v1", None, timeout_s=0.1),
        }
        with pytest.raises(TimeoutError):
            await dials[way]()  # type: ignore[misc]  # either gives something to await
        silent.close()

    asyncio.run(main())


def test_a_peer_that_is_cut_off_within_tls_is_lost_and_not_ended(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=tls.client_context(server.authority.file)
            )
            writer.write(PREFACE)
            answering, _ = await server.next()
            ended = asyncio.ensure_future(end_of(answering))
            await asyncio.sleep(0)
            # Only the TCP connection ends, as somebody on the way could make it.
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            assert isinstance(await ended, ConnectionLost)
            writer.transport.abort()
            del reader

    asyncio.run(main())


def test_whoever_takes_connections_may_fail_with_one_and_gets_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: failures.append(context.get("exception"))
        )
        taken: list[TransportChannel] = []

        def take(channel: TransportChannel, _: object) -> None:
            taken.append(channel)
            if len(taken) == 1:
                raise ZeroDivisionError

        identity = (authority := Authority(tmp_path)).server()
        context = tls.server_context(identity.certificate, identity.key, authority.file)
        endpoint = await tls_endpoint.serve_tls("", 0, context, take)
        client = tls.client_context(authority.file)
        first = await dial_tls("127.0.0.1", endpoint.address[1], client)
        assert await end_of(first) is None
        second = await dial_tls("localhost", endpoint.address[1], client)
        async with asyncio.timeout(PATIENCE_S):
            while len(taken) < 2:
                await asyncio.sleep(0.001)
        assert [type(failure) for failure in failures] == [ZeroDivisionError]
        second.close()
        taken[1].close()
        endpoint.close()
        await settle()

    asyncio.run(main())
