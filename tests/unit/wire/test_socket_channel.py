"""The socket channel where its kernel shows: many descriptors on their way, TCP, peers that vanish."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading
import traceback
from collections.abc import Callable

import pytest

from squall.model.errors import ConnectionLost, FrameError
from squall.wire.blocking import BlockingLink
from squall.wire.codec import Frame, Kind
from squall.wire.socket_channel import SocketChannel
from tests import machine

_PATIENCE_S = 20.0
_DESCRIPTORS = 96


def as_a_user_with_few_descriptors(work: Callable[[], None]) -> None:
    """Run `work` in a child that the kernel lets have few descriptors on their way; fails when it fails."""
    if os.geteuid() == 0 and not machine.facts()["root"]:
        pytest.skip(f"needs root: {machine.REMEDIES['root']}")  # this one cannot become another user
    pid = os.fork()
    if not pid:
        code = 1
        try:
            if not os.geteuid():
                # Of nobody else, also where these tests run side by side: the kernel counts for each user.
                own = 100_000 + os.getpid()
                os.setgroups([])
                os.setresgid(own, own, own)
                os.setresuid(own, own, own)
            signal.alarm(30)  # it must not outlive a test that gives up
            os.closerange(
                3, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            )  # what other tests hold is not counted here
            resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - told here, where it happens; the test fails by the status
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_more_descriptors_on_their_way_than_the_kernel_allows_wait_for_room() -> None:
    frames = (
        _DESCRIPTORS + 10
    )  # what finds no room waits as a duplicate, which takes a descriptor of this process

    async def main() -> None:
        left, right = socket.socketpair()
        sending, receiving = SocketChannel(left), SocketChannel(right)
        got: list[int] = []
        done = asyncio.get_running_loop().create_future()

        def on_frame(frame: Frame) -> None:
            assert len(frame.fds) == 1
            got.append(frame.stream)
            if len(got) == frames:
                done.set_result(None)

        sending.start(on_frame, lambda _: None)
        receiving.pause()
        receiving.start(on_frame, lambda _: None)
        for number in range(frames):
            sending.send(Frame(Kind.DATA, number, fds=(0,)))
        assert sending.buffered > 0, "there was room for all: this test shows nothing"
        receiving.resume()
        await asyncio.wait_for(done, _PATIENCE_S)
        assert got == list(range(frames))

    as_a_user_with_few_descriptors(lambda: asyncio.run(main()))


def test_a_blocking_sender_waits_for_room_too() -> None:
    frames = 4 * _DESCRIPTORS

    def work() -> None:
        left, right = map(BlockingLink, socket.socketpair())

        def send() -> None:
            for number in range(frames):
                left.send(Frame(Kind.DATA, number, fds=(0,)))

        thread = threading.Thread(target=send)
        thread.start()
        thread.join(0.1)
        assert thread.is_alive(), "there was room for all: this test shows nothing"
        for number in range(frames):
            frame = right.recv()
            assert frame is not None
            assert frame.stream == number
            os.close(*frame.take_fds())
        thread.join(_PATIENCE_S)
        assert not thread.is_alive()

    as_a_user_with_few_descriptors(work)


def test_tcp_carries_frames_and_no_descriptors() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            dialed = SocketChannel(socket.create_connection(listening.getsockname()))
            accepted = SocketChannel(listening.accept()[0])
        got: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        accepted.start(got.set_result, lambda _: None)
        with pytest.raises(FrameError):
            dialed.send(Frame(Kind.DATA, 1, fds=(0,)))
        dialed.send(Frame(Kind.DATA, 2, payload=bytes(1_000_000)))
        assert (await asyncio.wait_for(got, _PATIENCE_S)).stream == 2
        dialed.close()
        accepted.close()

    asyncio.run(main())


def test_what_a_peer_said_before_it_went_is_still_read() -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        going = BlockingLink(right)
        going.send(Frame(Kind.FAIL, 1, 0, b'{"code":"SQ-1603"}'))
        going.close()
        channel = SocketChannel(left)
        channel.send(Frame(Kind.OPEN, 1))  # nobody reads it
        got: list[Frame] = []
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        channel.start(got.append, ended.set_result)
        assert isinstance(await asyncio.wait_for(ended, _PATIENCE_S), ConnectionLost)
        assert [frame.kind for frame in got] == [Kind.FAIL]

    asyncio.run(main())


def test_what_was_sent_just_before_closing_in_a_round_of_many_is_not_lost() -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        channel, peer = SocketChannel(left), BlockingLink(right)

        def refuse(_: Frame) -> None:
            if not channel.closed:
                channel.send(Frame(Kind.FAIL, 1))
                channel.close()

        for number in range(5):
            peer.send(Frame(Kind.DATA, number))
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        channel.start(refuse, ended.set_result)
        assert await asyncio.wait_for(ended, _PATIENCE_S) is None
        said = peer.recv()
        assert said is not None
        assert said.kind is Kind.FAIL
        peer.close()

    asyncio.run(main())


def test_a_peer_that_does_not_read_is_given_up_at_last() -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        channel = SocketChannel(left)
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        channel.start(lambda _: None, ended.set_result)
        block = bytes(4 * 1024 * 1024)  # the same memory each time
        while not channel.closed:
            channel.send(Frame(Kind.DATA, 1, payload=block))
        error = await asyncio.wait_for(ended, _PATIENCE_S)
        assert isinstance(error, ConnectionLost)
        assert "does not read" in str(error)
        right.close()

    asyncio.run(main())
