"""The blocking link: what the runner's threads use."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from squall.model.errors import ChannelClosed, ConnectionLost, FrameError
from squall.wire.blocking import BlockingLink
from squall.wire.codec import MAX_PAYLOAD, PREFIX, VERSION, Frame, Kind, encode
from squall.wire.rights import rights


@pytest.fixture
def links() -> Iterator[tuple[BlockingLink, BlockingLink]]:
    left, right = map(BlockingLink, socket.socketpair())
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def link_and_peer() -> Iterator[tuple[BlockingLink, socket.socket]]:
    ours, peer = socket.socketpair()
    link = BlockingLink(ours)
    yield link, peer
    link.close()
    peer.close()


def test_frames_and_descriptors_go_through(links: tuple[BlockingLink, BlockingLink]) -> None:
    left, right = links
    read, write = os.pipe()
    left.send(Frame(Kind.OPEN, 1, 3, b"{}", b"one"), b"two")
    left.send(Frame(Kind.DATA, 1, fds=(write,)))
    os.close(write)
    first, second = right.recv(), right.recv()
    assert first is not None
    assert second is not None
    assert (first.kind, first.stream, first.route, first.header, first.payload) == (
        Kind.OPEN,
        1,
        3,
        b"{}",
        b"onetwo",
    )
    (lent,) = second.take_fds()
    assert not os.get_inheritable(lent)
    os.write(lent, b"x")
    assert os.read(read, 2) == b"x"
    os.close(lent)
    os.close(read)


def test_frames_of_many_threads_stay_whole(links: tuple[BlockingLink, BlockingLink]) -> None:
    left, right = links
    sizes = [0, 100, 20_000, 300_000, MAX_PAYLOAD]

    def send(stream: int) -> None:
        for size in sizes:
            left.send(Frame(Kind.DATA, stream, 0, b'{"n":%d}' % size), bytes([stream]) * size)

    threads = [threading.Thread(target=send, args=(stream,)) for stream in range(6)]
    for thread in threads:
        thread.start()
    seen: dict[int, list[int]] = {}
    for _ in range(6 * len(sizes)):
        frame = right.recv()
        assert frame is not None
        size = frame.head()["n"]
        assert frame.payload == bytes([frame.stream]) * size
        seen.setdefault(frame.stream, []).append(size)
    for thread in threads:
        thread.join()
    assert seen == dict.fromkeys(range(6), sizes)


def test_an_orderly_end_is_none(links: tuple[BlockingLink, BlockingLink]) -> None:
    left, right = links
    left.send(Frame(Kind.PING))
    left.close()
    left.close()
    assert right.recv() == Frame(Kind.PING)
    assert right.recv() is None
    assert right.recv() is None
    with pytest.raises(ChannelClosed):
        right.send(Frame(Kind.PING))


def test_closing_wakes_a_thread_that_waits(links: tuple[BlockingLink, BlockingLink]) -> None:
    left, right = links
    got: list[Frame | None] = []
    thread = threading.Thread(target=lambda: got.append(left.recv()))
    thread.start()
    right.send(Frame(Kind.PING))
    thread.join(10)
    waiting = threading.Thread(target=lambda: got.append(left.recv()))
    waiting.start()
    left.close()
    waiting.join(10)
    assert got == [Frame(Kind.PING), None]


def test_closing_wakes_a_thread_that_sends_to_a_peer_that_does_not_read(
    links: tuple[BlockingLink, BlockingLink],
) -> None:
    left, _ = links
    errors: list[Exception] = []
    begun = threading.Event()

    def send() -> None:
        try:
            while True:
                left.send(Frame(Kind.DATA, 1), bytes(100_000))
                begun.set()
        except (ConnectionLost, ChannelClosed) as error:
            errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    begun.wait(10)
    left.close()
    thread.join(10)
    assert len(errors) == 1


def test_a_peer_that_went_is_a_lost_connection(links: tuple[BlockingLink, BlockingLink]) -> None:
    left, right = links
    right.close()
    with pytest.raises(ConnectionLost):
        left.send(Frame(Kind.PING))
    assert left.recv() is None


def test_an_end_within_a_frame_is_a_lost_connection(
    link_and_peer: tuple[BlockingLink, socket.socket],
) -> None:
    link, peer = link_and_peer
    peer.sendall(PREFIX.pack(VERSION, Kind.DATA, 0, 0, 1, 0, 50_000) + bytes(10))
    peer.close()
    with pytest.raises(ConnectionLost):
        link.recv()


@pytest.mark.parametrize(
    ("data", "fds"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0),
        (PREFIX.pack(VERSION, Kind.DATA, 2, 0, 1, 0, 0), 1),
        (PREFIX.pack(VERSION, Kind.DATA, 1, 0, 1, 0, 0), 2),
        (PREFIX.pack(VERSION, Kind.DATA, 0, 0, 1, 0, 0), 1),
        (PREFIX.pack(VERSION, Kind.DATA, 8, 0, 1, 0, 0), 30),
        (PREFIX.pack(VERSION, Kind.DATA, 9, 0, 1, 0, 0), 0),
    ],
)
def test_what_is_no_frame_closes_the_link(
    link_and_peer: tuple[BlockingLink, socket.socket], data: bytes, fds: int
) -> None:
    link, peer = link_and_peer
    before = len(os.listdir("/dev/fd"))
    peer.sendmsg([data], rights((peer.fileno(),) * fds))
    with pytest.raises(FrameError):
        link.recv()
    assert link.recv() is None
    assert len(os.listdir("/dev/fd")) == before - 1  # the link's own socket


def test_descriptors_that_found_no_room_are_told(link_and_peer: tuple[BlockingLink, socket.socket]) -> None:
    link, peer = link_and_peer
    peer.sendmsg([PREFIX.pack(VERSION, Kind.DATA, 8, 0, 1, 0, 0)], rights((peer.fileno(),) * 20))
    with pytest.raises(FrameError, match="lost"):
        link.recv()


def test_a_frame_beyond_the_limits_is_refused_and_harms_nothing(
    links: tuple[BlockingLink, BlockingLink],
) -> None:
    left, right = links
    with pytest.raises(FrameError):
        left.send(Frame(Kind.DATA, 1), bytes(MAX_PAYLOAD), b"x")
    left.send(Frame(Kind.PING))
    assert right.recv() == Frame(Kind.PING)


def test_closing_closes_what_was_received_and_not_taken(links: tuple[BlockingLink, BlockingLink]) -> None:
    left, right = links
    before = len(os.listdir("/dev/fd"))
    read, write = os.pipe()
    left.send(Frame(Kind.PING))
    left.send(Frame(Kind.DATA, 1, fds=(read, write)))
    os.close(read)
    os.close(write)
    right.recv()
    right.recv()
    right.close()
    assert len(os.listdir("/dev/fd")) == before + 2 - 1  # what recv gave is the caller's


def test_what_is_here_is_given_without_waiting_and_a_frame_that_has_begun_is_waited_for(
    link_and_peer: tuple[BlockingLink, socket.socket],
) -> None:
    link, peer = link_and_peer
    assert link.recv_ready() == []
    (small,) = encode(Frame(Kind.DATA, 1, payload=b"one"))
    peer.sendall(bytes(small) * 2)
    found = link.recv_ready()
    assert found is not None
    assert [frame.payload for frame in found] == [b"one", b"one"]
    peer.sendall(bytes(small)[:20])
    threading.Timer(0.02, peer.sendall, (bytes(small)[20:],)).start()
    assert [frame.payload for frame in link.recv_ready() or ()] == [b"one"]
    peer.close()
    assert link.recv_ready() is None
    assert link.fileno() == -1
