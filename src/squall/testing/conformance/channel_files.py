"""Files through a channel: what every implementation must do with the open files of a frame, whichever way they travel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from squall.testing.conformance.channel_seen import PATIENCE_S, Check, Seen, opened
from squall.wire.channel import Channel
from squall.wire.codec import Frame, Kind
from squall.wire.rights import close_all
from squall.wire.sealed import is_sealed, read_sealed, seal


async def files_arrive_with_their_frame(left: Channel, right: Channel) -> None:
    taken: list[tuple[int, ...]] = []
    seen = Seen(right, lambda frame: taken.append(frame.take_fds()))
    values = [b"", b"one byte less", os.urandom(3_000_000), b"z" * 300_000]
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(_file(value)) for value in values]
        left.send(Frame(Kind.DATA, 1))
        left.send(Frame(Kind.DATA, 2, 5, b'{"n":1}', b"payload", fds=tuple(file.fileno() for file in files)))
        left.send(Frame(Kind.DATA, 3, fds=(files[1].fileno(),)))
        left.send(Frame(Kind.DATA, 4))
    await seen.until(4)
    fds = dict(zip((frame.stream for frame in seen.frames), taken, strict=True))
    try:
        assert [os.pread(fd, 4_000_000, 0) for fd in fds[2]] == values
        assert [os.pread(fd, 100, 0) for fd in fds[3]] == [values[1]]
        assert not any(os.get_inheritable(fd) for fd in fds[2])
        assert not fds[1]
        assert not fds[4]
        (with_files,) = [frame for frame in seen.frames if frame.stream == 2]
        assert (with_files.route, with_files.header, bytes(with_files.payload)) == (5, b'{"n":1}', b"payload")
    finally:
        close_all([fd for some in taken for fd in some])


async def a_sealed_file_arrives_sealed(left: Channel, right: Channel) -> None:
    taken: list[int] = []
    seen = Seen(right, lambda frame: taken.extend(frame.take_fds()))
    fd = seal([b"v" * 2_500_000])
    left.send(Frame(Kind.DATA, 1, fds=(fd,)))
    close_all([fd])
    await seen.until(1)
    try:
        assert is_sealed(taken[0])
        assert bytes(read_sealed(taken[0], 2_500_000)) == b"v" * 2_500_000
    finally:
        close_all(taken)


async def frames_of_a_stream_keep_their_order_behind_files(left: Channel, right: Channel) -> None:
    taken: list[int] = []
    seen = Seen(right, lambda frame: taken.extend(frame.take_fds()))
    with _file(b"large" * 1_000_000) as large, _file(b"small") as small:
        for number in range(60):
            fds = ((large if number % 20 == 0 else small).fileno(),) if number % 5 == 0 else ()
            left.send(Frame(Kind.DATA, number % 3, number % 2, b"%d" % number, fds=fds))
    await seen.until(60)
    close_all(taken)
    for stream in range(3):
        for route in range(2):
            numbers = [int(one.header) for one in seen.frames if (one.stream, one.route) == (stream, route)]
            assert numbers == [number for number in range(60) if (number % 3, number % 2) == (stream, route)]


async def files_are_as_they_were_when_they_were_sent_or_shorter(left: Channel, right: Channel) -> None:
    taken: list[int] = []
    seen = Seen(right, lambda frame: taken.extend(frame.take_fds()))
    right.pause()
    for number in range(8):
        left.send(Frame(Kind.DATA, number, payload=bytes(1024 * 1024)))
    with _file(b"k" * 100_000) as file:
        left.send(Frame(Kind.DATA, 8, fds=(file.fileno(),)))
        file.truncate(10)
        right.resume()
        left.send(Frame(Kind.DATA, 8))
        await seen.until(10)
    try:
        assert os.pread(taken[0], 200_000, 0) in {b"k" * 10, b"k" * 100_000}
    finally:
        close_all(taken)


async def what_is_over_can_be_said_behind_what_waits_for_files(left: Channel, right: Channel) -> None:
    taken: list[int] = []
    seen = Seen(right, lambda frame: taken.extend(frame.take_fds()))
    with _file(b"last words" * 500_000) as file:
        left.send(Frame(Kind.DATA, 3, 7, fds=(file.fileno(),)))
    left.send(Frame(Kind.END, 3, 7))
    async with asyncio.timeout(PATIENCE_S):
        await left.passed(7)
    left.send(Frame(Kind.DATA, 1, 0, b'{"over":7}'))
    await seen.until(3)
    close_all(taken)
    assert [frame.route for frame in seen.frames] == [7, 7, 0]


async def files_that_nobody_takes_leave_no_descriptor(left: Channel, right: Channel) -> None:
    arrived: list[int] = []
    seen = Seen(right, lambda frame: arrived.extend(frame.fds))
    with _file(b"x" * 1_000_000) as file:
        left_open = opened(file.fileno())
        for number in range(20):
            left.send(Frame(Kind.DATA, number, fds=(file.fileno(), file.fileno())))
        await seen.until(20)
        await asyncio.sleep(0)
    assert len(arrived) == 40
    assert left_open() == 0


async def a_channel_that_closes_lets_go_of_its_files(left: Channel, right: Channel) -> None:
    seen_left, seen_right = Seen(left), Seen(right)
    right.pause()
    with _file(b"x" * 10_000_000) as file:
        left_open = opened(file.fileno())
        for number in range(8):
            left.send(Frame(Kind.DATA, number, payload=bytes(1024 * 1024), fds=(file.fileno(),)))
    await asyncio.sleep(0)
    left.close()
    right.close()
    await seen_left.end()
    await seen_right.end()
    assert left_open() == 0


@contextlib.contextmanager
def _file(value: bytes) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(value)
        file.flush()
        yield cast("BinaryIO", file)


CHECKS: Final[tuple[Check, ...]] = (
    files_arrive_with_their_frame,
    a_sealed_file_arrives_sealed,
    frames_of_a_stream_keep_their_order_behind_files,
    files_are_as_they_were_when_they_were_sent_or_shorter,
    what_is_over_can_be_said_behind_what_waits_for_files,
    files_that_nobody_takes_leave_no_descriptor,
    a_channel_that_closes_lets_go_of_its_files,
)
