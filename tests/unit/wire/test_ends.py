"""Ends of a command, joined over a stream to somebody who gets no descriptors."""

from __future__ import annotations

import asyncio
import os
import pty
import struct
import termios
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fcntl import ioctl

import pytest

from squall.wire.codec import Frame, Kind
from squall.wire.ends import WINDOW, Ends
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream

pytestmark = pytest.mark.needs("linux")


@dataclass
class Two:
    """Both sides of a stream; what the near side has sent."""

    near: Stream
    far: Stream


def on_two(play: Callable[[Two], Awaitable[None]]) -> None:
    async def run() -> None:
        left, right = pair()
        opened: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        near = Session(left, dialer=True)
        far = Session(right, dialer=False, on_open=lambda stream, _head, _frame: opened.set_result(stream))
        stream = near.open("command")
        await play(Two(stream, await opened))
        near.close()
        far.close()

    asyncio.run(run())


def join(ends: Ends, stream: Stream) -> None:
    stream.on_frame = lambda frame: ends.take(frame) if frame.kind is Kind.DATA else None


async def read_all(fd: int) -> bytes:
    def work() -> bytes:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        os.close(fd)
        return b"".join(parts)

    return await asyncio.to_thread(work)


async def write_all(fd: int, data: bytes) -> None:
    def work() -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.close(fd)

    await asyncio.to_thread(work)


def test_what_is_written_at_one_side_is_read_at_the_other_to_its_end() -> None:
    async def play(two: Two) -> None:
        before = len(os.listdir("/proc/self/fd"))
        source, typed = os.pipe()
        received, told = os.pipe()
        near = Ends(two.near, (source,), reads=(0,), writes=())
        far = Ends(two.far, (told,), reads=(), writes=(0,))
        join(near, two.near)
        join(far, two.far)
        data = os.urandom(3 * WINDOW + 17)
        _, got = await asyncio.gather(write_all(typed, data), read_all(received))
        assert got == data
        await near.drained(1.0)
        near.close()
        far.close()
        assert len(os.listdir("/proc/self/fd")) == before

    on_two(play)


def test_a_side_that_does_not_read_holds_up_the_other_within_a_window() -> None:
    async def play(two: Two) -> None:
        source, typed = os.pipe()
        _received, told = os.pipe()
        seen = 0

        def count(frame: Frame) -> None:
            nonlocal seen
            seen += len(frame.payload)

        near = Ends(two.near, (source,), reads=(0,), writes=())
        join(near, two.near)
        two.far.on_frame = count
        os.set_blocking(typed, False)
        for _ in range(200):
            try:
                os.write(typed, bytes(65536))
            except BlockingIOError:
                await asyncio.sleep(0)
        assert WINDOW <= seen < WINDOW + 65536 + 1
        two.far.send({"end": 0, "took": seen})
        before = seen
        while seen == before:
            await asyncio.sleep(0)
        near.close()
        for fd in (typed, _received, told):
            os.close(fd)

    on_two(play)


def test_a_terminal_is_read_written_and_resized_and_its_end_is_no_error() -> None:
    async def play(two: Two) -> None:
        master, slave = pty.openpty()
        ends = Ends(two.far, (master,), reads=(0,), writes=(0,))
        join(ends, two.far)
        printed: asyncio.Queue[bytes] = asyncio.Queue()
        closed = asyncio.Event()

        def take(frame: Frame) -> None:
            if len(frame.payload):
                printed.put_nowait(bytes(frame.payload))
            if frame.head().get("closed"):
                closed.set()

        two.near.on_frame = take
        two.near.send({"size": [33, 77]})
        two.near.send({"end": 0}, b"typed\n")
        assert await asyncio.to_thread(os.read, slave, 100) == b"typed\n"
        assert struct.unpack("4H", ioctl(slave, termios.TIOCGWINSZ, bytes(8)))[:2] == (33, 77)
        assert await printed.get() == b"typed\r\n", "the terminal's echo"
        os.close(slave)
        await closed.wait()
        await ends.drained(1.0)
        ends.close()

    on_two(play)


def test_what_makes_no_sense_is_passed_over() -> None:
    async def play(two: Two) -> None:
        received, told = os.pipe()
        ends = Ends(two.far, (told,), reads=(), writes=(0,))
        join(ends, two.far)
        for head in ({}, {"end": 7}, {"end": "x"}, {"size": "wide"}, {"size": [1]}, {"end": 0, "took": 5}):
            two.near.send(head, b"")
        two.near.send({"end": 0, "closed": True}, b"last")
        assert await read_all(received) == b"last"

    on_two(play)


def test_nobody_reading_there_any_more_does_not_hold_up_the_sender() -> None:
    async def play(two: Two) -> None:
        received, told = os.pipe()
        os.close(received)
        ends = Ends(two.far, (told,), reads=(), writes=(0,))
        join(ends, two.far)
        took: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        two.near.on_frame = lambda frame: took.set_result(frame.head()["took"])
        two.near.send({"end": 0}, b"into the void")
        assert await took == len(b"into the void")
        ends.close()

    on_two(play)
