"""Files by value: what is refused, what keeps its order, what is bounded, and who does not wait."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from squall.model.call import LARGEST_VALUE
from squall.model.errors import ChannelClosed, DescriptorNotSent, FrameError
from squall.testing.conformance.channel_seen import Seen
from squall.wire import attachments, tls
from squall.wire.attachments import MAX_PIECE, MOST_AT_ONCE, Inbox, Outbox
from squall.wire.codec import Decoder, Frame, Kind, encode, write_head
from squall.wire.dialing import dial_tls
from squall.wire.rights import close_all
from squall.wire.sealed import is_sealed, seal
from squall.wire.session import Session
from squall.wire.stream import Stream
from squall.wire.transport_channel import TransportChannel
from tests.remote import PATIENCE_S, open_files, run, serving, warm_up


@pytest.fixture(autouse=True)
def no_descriptor_stays() -> Iterator[None]:
    warm_up()
    before = open_files()
    yield
    assert open_files() <= before  # those of an earlier test may have gone meanwhile


Test = Callable[[TransportChannel, TransportChannel], Awaitable[None]]


def connected(folder: Path, test: Test, kind: str = "tls") -> None:
    async def main() -> None:
        async with serving(folder) as server:
            left, right = await server.connect(kind)
            try:
                await test(left, right)
            finally:
                left.close()
                right.close()

    run("asyncio", main)


def piece(payload: bytes = b"", **head: object) -> Frame:
    return Frame(Kind.PIECE, 1, 0, write_head(head), payload)


@pytest.mark.parametrize("kind", ["socket", "pipe", "device", "directory", "written only"])
def test_what_is_no_file_that_can_be_read_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    async def test(left: TransportChannel, right: TransportChannel) -> None:
        seen = Seen(right)
        near, far = socket.socketpair()
        end, other = os.pipe()
        written = os.open(tmp_path / "written", os.O_WRONLY | os.O_CREAT)
        folder, device = os.open(tmp_path, os.O_RDONLY), os.open("/dev/null", os.O_RDWR)
        fds = {
            "socket": near.fileno(),
            "pipe": end,
            "device": device,
            "directory": folder,
            "written only": written,
        }
        good = seal([b"good"])
        try:
            with pytest.raises(DescriptorNotSent):
                left.send(Frame(Kind.DATA, 1, fds=(good, fds[kind])))
        finally:
            near.close()
            far.close()
            close_all([end, other, written, folder, device, good])
        left.send(Frame(Kind.DATA, 2))
        await seen.until(1)
        assert [frame.stream for frame in seen.frames] == [2]

    connected(tmp_path, test)


def test_a_file_that_is_too_long_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    async def test(left: TransportChannel, right: TransportChannel) -> None:
        seen = Seen(right)
        with (tmp_path / "long").open("wb+") as file:
            file.truncate(LARGEST_VALUE + 1)
            with pytest.raises(FrameError, match="at most"):
                left.send(Frame(Kind.DATA, 1, fds=(file.fileno(),)))
            file.truncate(1000)
            left.most_attached = 999
            with pytest.raises(FrameError, match="999"):
                left.send(Frame(Kind.DATA, 1, fds=(file.fileno(),)))
            left.most_attached = 1000
            left.send(Frame(Kind.DATA, 2, fds=(file.fileno(),)))
        await seen.until(1)
        assert [frame.stream for frame in seen.frames] == [2]

    connected(tmp_path, test)


def test_small_calls_do_not_wait_for_a_large_value(tmp_path: Path) -> None:
    async def test(left: TransportChannel, right: TransportChannel) -> None:
        taken: list[int] = []

        def on_open(stream: Stream, head: dict[str, object], frame: Frame) -> None:
            if head["t"] == "large":
                taken.extend(os.fstat(fd).st_size for fd in frame.fds)
            stream.end({}, frame.payload)

        Session(right, dialer=False, on_open=on_open)
        session = Session(left, dialer=True)
        fd = seal([bytes(30_000_000)])
        large = asyncio.ensure_future(session.ask("large", fds=(fd,)))
        await asyncio.sleep(0)
        answered = 0
        # Opened later, answered earlier: the id of the large one's stream comes behind theirs.
        while not large.done():
            await asyncio.wait_for(session.ask("small", {}, b"x"), PATIENCE_S)
            answered += 1
        await large
        os.close(fd)
        assert taken == [30_000_000]
        # One or two, where they wait for it; on a loaded machine not many more than these.
        assert answered >= 4

    connected(tmp_path, test)


def test_memory_does_not_grow_with_what_waits(tmp_path: Path) -> None:
    async def test(left: TransportChannel, right: TransportChannel) -> None:
        seen = Seen(right, lambda frame: sizes.extend(os.fstat(fd).st_size for fd in frame.fds))
        sizes: list[int] = []
        fd = seal([bytes(10_000_000)])
        right.pause()
        for number in range(20):
            left.send(Frame(Kind.DATA, number, fds=(fd,)))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert left.buffered < 1_000_000
        right.resume()
        await seen.until(20)
        os.close(fd)
        assert sizes == [10_000_000] * 20

    connected(tmp_path, test)


def test_what_is_over_can_be_said_when_no_frame_of_its_route_waits_any_more(tmp_path: Path) -> None:
    async def test(left: TransportChannel, right: TransportChannel) -> None:
        seen = Seen(right)
        fd = seal([bytes(20_000_000)])
        left.send(Frame(Kind.DATA, 3, 7, fds=(fd,)))
        left.send(Frame(Kind.END, 3, 7))
        os.close(fd)
        left.send(Frame(Kind.DATA, 1, 0, b'{"n":"overtakes"}'))
        await asyncio.wait_for(left.passed(8), PATIENCE_S)
        await asyncio.wait_for(left.passed(7), PATIENCE_S)
        left.send(Frame(Kind.DATA, 1, 0, b'{"n":"is over"}'))
        await seen.until(4)
        assert [frame.route for frame in seen.frames] == [0, 7, 7, 0]
        right.pause()
        fd = seal([bytes(20_000_000)])
        left.send(Frame(Kind.DATA, 3, 7, fds=(fd,)))
        os.close(fd)
        waiting = asyncio.ensure_future(left.passed(7))
        await asyncio.sleep(0)
        left.close()
        with pytest.raises(ChannelClosed):
            await waiting

    connected(tmp_path, test)


def test_a_peer_that_has_not_said_who_it_is_sends_no_files(tmp_path: Path) -> None:
    async def test(left: TransportChannel, right: TransportChannel) -> None:
        right.most_attached = 0
        seen_left, seen = Seen(left), Seen(right)
        fd = seal([b"value"])
        left.send(Frame(Kind.DATA, 1, fds=(fd,)))
        os.close(fd)
        assert isinstance(await seen.end(), FrameError)
        await seen_left.end()

    connected(tmp_path, test)


def test_a_server_takes_files_from_the_start_only_of_who_shows_a_certificate(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            known = server.authority.client()
            unknown = tls.client_context(server.authority.file)
            shown = tls.client_context(server.authority.file, cert_file=known.certificate, key_file=known.key)
            for context, most in ((unknown, 0), (shown, attachments.MOST_ATTACHED)):
                dialed = await dial_tls("127.0.0.1", server.port, context)
                answering, _ = await server.next()
                assert answering.most_attached == most
                dialed.close()

    run("asyncio", main)


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(b"x")],
        [piece(b"x", s=True)],
        [piece(b"x", s=-1)],
        [piece(b"x", s=1.0)],
        [piece(b"x", s=LARGEST_VALUE + 1)],
        [piece(b"xx", s=1)],
        [piece(b"", s=1)],
        [piece(b"x", s=2), piece(b"x", s=2)],
        [piece(b"x", s=2), piece(b"xx")],
        [piece(b"x", s=2), piece(b"")],
        [piece(b"x" * (MAX_PIECE + 1), s=1_000_000)],
        [piece(b"", s=0)] * 9,
        [piece(b"x", s=600), Frame(Kind.PIECE, 2, 0, b'{"s":600}', b"x")],
        [Frame(Kind.PIECE, number, 0, b'{"s":0}') for number in range(MOST_AT_ONCE + 1)],
        [Frame(Kind.PIECE, 1, 0, b"[]", b"x")],
    ],
)
def test_pieces_that_make_no_sense_or_are_too_many_are_frame_errors(pieces: list[Frame]) -> None:
    inbox = Inbox()
    inbox.most_bytes = 1000 if len(pieces) == 2 and pieces[1].stream == 2 else 10**10
    with pytest.raises(FrameError):
        for one in pieces:
            inbox.take(one)
    inbox.close()


def test_a_frame_claims_exactly_the_files_that_have_arrived_whole() -> None:
    inbox = Inbox()
    for claimed in (1, 3):
        inbox.take(piece(b"a", s=1))
        inbox.take(piece(b"", s=0))
        with pytest.raises(FrameError, match="2 have arrived"):
            inbox.claim(Frame(Kind.DATA, 1), claimed)
        inbox.close()
    inbox.take(piece(b"a", s=2))
    with pytest.raises(FrameError, match="0 have arrived"):
        inbox.claim(Frame(Kind.DATA, 1), 1)
    with pytest.raises(FrameError, match="0 have arrived"):
        inbox.claim(Frame(Kind.DATA, 2), 1)
    inbox.take(piece(b"b"))
    frame = Frame(Kind.DATA, 1)
    inbox.claim(frame, 1)
    assert [os.pread(fd, 10, 0) for fd in frame.fds] == [b"ab"]
    assert is_sealed(frame.fds[0])
    close_all(frame.take_fds())
    inbox.close()


def test_who_sends_never_begins_more_than_the_other_side_takes() -> None:
    outbox, inbox, decoder = Outbox(), Inbox(), Decoder(pieces=True)
    outbox.most_bytes = inbox.most_bytes = 1_000_000
    sizes = [400_000, 900_000, 10, 600_000, 1_000_000, 0, 300_000]
    fds = [seal([b"v" * size]) for size in sizes]
    for number, fd in enumerate(fds):
        frame = Frame(Kind.DATA, number, fds=(fd,))
        outbox.add(frame, encode(frame))
    for number in range(100, 100 + 2 * MOST_AT_ONCE):
        frame = Frame(Kind.DATA, number, fds=(fds[2],))
        outbox.add(frame, encode(frame))
    close_all(fds)
    came: list[int] = []
    sent = 0
    while outbox:
        sent_piece, freed = outbox.next()
        assert sent_piece or freed
        for frame, claimed in decoder.feed(b"".join([*sent_piece, *freed])):
            if frame.kind is Kind.PIECE:
                inbox.take(frame)
            else:
                inbox.claim(frame, claimed)
                came.append(frame.stream)
                close_all(frame.take_fds())
        if freed:
            sent += 1
            outbox.note_released(sent)
            outbox.passed(sent)
    assert sorted(came) == [*range(len(sizes)), *range(100, 100 + 2 * MOST_AT_ONCE)]
    inbox.close()
