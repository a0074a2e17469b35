"""Whatever a peer sends, the session ends in order: closed, with the reason, nothing left open."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Any

from hypothesis import given, settings, strategies as st

from squall.model.errors import ConnectionLost, FrameError
from squall.wire.codec import PREFIX, VERSION, Frame, Kind, encode
from squall.wire.rights import rights
from squall.wire.session import Session
from squall.wire.socket_channel import SocketChannel
from squall.wire.stream import Stream

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
