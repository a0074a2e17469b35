"""Whatever a peer sends, the session ends in order: closed, with the reason, nothing left open."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from squall.model.errors import ConnectionLost, FrameError
from squall.wire import tls
from squall.wire.codec import PREFIX, VERSION, Frame, Kind, encode
from squall.wire.dialing import PREFACE
from squall.wire.rights import rights
from squall.wire.session import Session
from squall.wire.socket_channel import SocketChannel
from squall.wire.stream import Stream
from squall.wire.tls_bytes import TlsBytes
from squall.wire.tls_endpoint import serve_tls
from squall.wire.transport_channel import TransportChannel
from squall.wire.upgrade import parse_url, request
from squall.wire.websocket import NO_MASK
from tests.certificates import Authority
from tests.remote import settle

_PATIENCE_S = 20.0


class Answering:
    """A session that answers every question, over a socket whose other end is the test's."""

    def __init__(self) -> None:
        self.kept: list[Frame] = []
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.session = Session(
            SocketChannel(ours), dialer=False, on_open=self._on_open, on_close=self.ended.set_result
        )

    def _on_open(self, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        if head.get("t") == "stay":
            stream.on_frame = self.kept.append
        else:
            stream.end({}, frame.payload)

    async def say(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send raw bytes and descriptors, reading whatever comes so that nothing is stuck."""
        loop = asyncio.get_running_loop()
        try:
            sent = self.peer.sendmsg([data], rights(fds)) if data else 0
            if data[sent:]:
                await asyncio.wait_for(loop.sock_sendall(self.peer, data[sent:]), _PATIENCE_S)
        except OSError:
            pass  # the session has closed already

    async def end(self) -> Exception | None:
        """Close this side's writing and wait until the session has ended."""
        try:
            self.peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return await asyncio.wait_for(self.ended, _PATIENCE_S)


class Far:
    """A session that answers every question, at a port for other machines; what is said to it goes through TLS."""

    def __init__(self, authority: Authority, kind: str) -> None:
        self._authority, self._kind = authority, kind
        self.kept: list[Frame] = []
        self.session: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def _on_connect(self, channel: TransportChannel, _: object) -> None:
        channel.most_attached = 1_000_000
        self.session.set_result(
            Session(channel, dialer=False, on_open=self._on_open, on_close=self.ended.set_result)
        )

    def _on_open(self, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        if head.get("t") == "stay":
            stream.on_frame = self.kept.append
        else:
            stream.end({}, frame.payload)

    async def hear(self, said: list[bytes]) -> Exception | None:
        """How the session ends that is told this, and then nothing more."""
        own = self._authority.folder
        context = tls.server_context(own / "server.pem", own / "server.key", self._authority.file)
        endpoint = await serve_tls("127.0.0.1", 0, context, self._on_connect)
        reader, writer = await asyncio.open_connection(
            *endpoint.address, ssl=tls.client_context(self._authority.file)
        )
        greeting = request(parse_url("wss://x/squall/v1"), bytes(16), {})
        writer.write(PREFACE if self._kind == "tls" else greeting)
        for data in said:
            writer.write(data)
            await asyncio.sleep(0)
        session = await asyncio.wait_for(self.session, _PATIENCE_S)
        writer.close()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await reader.read()
                await writer.wait_closed()
        except (OSError, ssl.SSLError):
            pass  # the session has closed already
        error = await asyncio.wait_for(self.ended, _PATIENCE_S)
        assert session.streams == 0
        endpoint.close()
        await settle()
        return error


def run(main: Coroutine[Any, Any, None]) -> None:
    before = len(os.listdir("/dev/fd"))
    asyncio.run(main)
    assert len(os.listdir("/dev/fd")) == before, "descriptors were left open"


def wire(frame: Frame) -> bytes:
    return b"".join(bytes(buffer) for buffer in encode(frame))


valid = st.builds(
    lambda kind, stream, header, payload: wire(Frame(kind, stream, 0, header, payload)),
    st.sampled_from(list(Kind)),
    st.integers(0, 12),
    st.sampled_from([b"", b'{"t":"stay"}', b'{"t":"echo"}', b'{"n":1}', b'{"n":-1}', b"[]", b"{", b"\xff"]),
    st.binary(max_size=30),
)
oversized = st.builds(
    lambda kind, fds, header, payload: PREFIX.pack(VERSION, kind, fds, 0, 1, header, payload),
    st.integers(0, 10),
    st.integers(0, 300),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
opening = st.integers(0, 5).map(lambda n: wire(Frame(Kind.OPEN, 2 * n + 1, 0, b'{"t":"stay"}')))
said = st.lists(st.one_of(opening, valid, oversized, st.binary(max_size=60)), max_size=8)


@settings(deadline=None)
@given(said=said)
def test_whatever_a_peer_says_the_session_ends_in_order(said: list[bytes]) -> None:
    async def main() -> None:
        fuzzed = Answering()
        for data in said:
            await fuzzed.say(data)
        error = await fuzzed.end()
        assert error is None or type(error) in {FrameError, ConnectionLost}
        assert fuzzed.session.streams == 0
        fuzzed.peer.close()

    run(main())


@settings(deadline=None)
@given(frame=valid, cut=st.integers(1, 1000))
def test_a_cut_frame_is_a_lost_connection_or_a_frame_error(frame: bytes, cut: int) -> None:
    async def main() -> None:
        fuzzed = Answering()
        await fuzzed.say(frame[: 1 + cut % (len(frame) - 1)])
        assert type(await fuzzed.end()) in {ConnectionLost, FrameError}
        fuzzed.peer.close()

    run(main())


@settings(deadline=None)
@given(number=st.integers(0, 5), kind=st.sampled_from([Kind.OPEN, Kind.END, Kind.FAIL, Kind.CANCEL]))
def test_a_replayed_frame_is_a_frame_error(number: int, kind: Kind) -> None:
    stream = 2 * number + 1

    async def main() -> None:
        fuzzed = Answering()
        await fuzzed.say(wire(Frame(Kind.OPEN, stream, 0, b'{"t":"stay"}')))
        frame = wire(Frame(kind, stream, 0, b'{"t":"stay"}' if kind is Kind.OPEN else b""))
        await fuzzed.say(frame)
        await fuzzed.say(frame)
        assert type(await fuzzed.end()) is FrameError
        fuzzed.peer.close()

    run(main())


@settings(deadline=None)
@given(claimed=st.integers(0, 8), given_fds=st.integers(0, 20), cut=st.integers(1, 30))
def test_surplus_and_missing_descriptors_are_frame_errors(claimed: int, given_fds: int, cut: int) -> None:
    async def main() -> None:
        fuzzed = Answering()
        read, write = os.pipe()
        prefix = PREFIX.pack(VERSION, Kind.PING, claimed, 0, 0, 0, 10)
        data = prefix + bytes(10)
        await fuzzed.say(data[:cut], (read,) * given_fds)
        await fuzzed.say(data[cut:])
        error = await fuzzed.end()
        assert (error is None) == (claimed == given_fds)
        assert error is None or type(error) is FrameError
        os.close(read)
        os.close(write)
        fuzzed.peer.close()

    run(main())


@settings(deadline=None, max_examples=20)
@given(fds=st.integers(1, 8))
def test_descriptors_in_every_byte_are_a_frame_error_before_they_pile_up(fds: int) -> None:
    async def main() -> None:
        fuzzed = Answering()
        read, write = os.pipe()
        for byte in PREFIX.pack(VERSION, Kind.DATA, 8, 0, 1, 0, 100_000):
            await fuzzed.say(bytes([byte]), (read,) * fds)
            await asyncio.sleep(0)
        assert type(await fuzzed.end()) is FrameError
        os.close(read)
        os.close(write)
        fuzzed.peer.close()

    run(main())


piece = st.builds(
    lambda stream, header, payload: wire(Frame(Kind.PIECE, stream, 0, header, payload)),
    st.integers(0, 4),
    st.sampled_from(
        [b"", b'{"s":0}', b'{"s":5}', b'{"s":1000001}', b'{"s":-1}', b'{"s":true}', b'{"e":1}', b"["]
    ),
    st.binary(max_size=8),
)
claiming = st.builds(
    lambda fds, stream: PREFIX.pack(VERSION, Kind.OPEN, fds, 0, stream, 0, 0),
    st.integers(0, 8),
    st.integers(0, 4),
)
said_far = st.lists(st.one_of(opening, valid, oversized, piece, claiming, st.binary(max_size=60)), max_size=8)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.server()
    return made


@settings(deadline=None, max_examples=60)
@given(said=said_far)
def test_whatever_another_machine_says_the_session_ends_in_order(
    authority: Authority, said: list[bytes]
) -> None:
    async def main() -> None:
        error = await Far(authority, "tls").hear(said)
        assert error is None or type(error) in {FrameError, ConnectionLost}

    run(main())


masked_heads = st.sampled_from([b"\x82", b"\x02", b"\x00", b"\x80", b"\x88", b"\x89", b"\x81", b"\xf2"])
in_message = st.builds(
    lambda head, data: head + bytes([0x80 | len(data)]) + NO_MASK + data,
    masked_heads,
    st.binary(max_size=120),
)
whole_frames = st.builds(lambda data: b"\x82" + bytes([0x80 | len(data)]) + NO_MASK + data, valid)


@settings(deadline=None, max_examples=60)
@given(said=st.lists(st.one_of(in_message, whole_frames, st.binary(max_size=60)), max_size=8))
def test_whatever_comes_over_a_websocket_the_session_ends_in_order(
    authority: Authority, said: list[bytes]
) -> None:
    async def main() -> None:
        error = await Far(authority, "websocket").hear(said)
        assert error is None or type(error) in {FrameError, ConnectionLost}

    run(main())


@settings(deadline=None, max_examples=30)
@given(data=st.binary(min_size=1, max_size=300), at=st.integers(0, 10_000), flip=st.booleans())
def test_bytes_that_were_changed_within_tls_are_a_lost_connection(
    authority: Authority, data: bytes, at: int, *, flip: bool
) -> None:
    folder = authority.folder
    near = TlsBytes(tls.client_context(authority.file), server_side=False, server_name="localhost")
    far = TlsBytes(
        tls.server_context(folder / "server.pem", folder / "server.key", authority.file), server_side=True
    )
    done = [False, False]
    while not all(done):
        done[0] = done[0] or near.shake()
        far.receive(near.to_send())
        done[1] = done[1] or far.shake()
        near.receive(far.to_send())
    near.write([data])
    sealed = bytearray(near.to_send())
    if flip:
        sealed[at % len(sealed)] ^= 1
        far.receive(bytes(sealed))
    else:
        far.receive(bytes(sealed[: at % len(sealed)]))
    far.receive_end()
    with pytest.raises(ConnectionLost):
        while far.read() is not None:
            pass
