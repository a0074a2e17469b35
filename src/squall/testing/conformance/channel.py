"""Channel conformance: what every implementation of Channel must do, seen from its two ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from squall.model.errors import ChannelClosed, ConnectionLost, FrameError
from squall.testing.conformance import channel_files
from squall.testing.conformance.channel_seen import PATIENCE_S, Check, Seen, opened
from squall.wire.channel import DRAINED_BELOW, Channel
from squall.wire.codec import MAX_FDS, MAX_HEADER, MAX_PAYLOAD, Frame, Kind
from squall.wire.rights import close_all

E = TypeVar("E", bound=BaseException)


async def frames_arrive_as_they_were_sent(left: Channel, right: Channel) -> None:
    seen = Seen(right)
    sent = [
        Frame(Kind.OPEN, 1, 0, b'{"t":"x"}', b"payload"),
        Frame(Kind.DATA, 1, 7),
        Frame(Kind.END, 2**32 - 1, 2**32 - 1, b"{}", b""),
        Frame(Kind.PING),
    ]
    for frame in sent:
        left.send(frame)
    await seen.until(len(sent))
    for got, want in zip(seen.frames, sent, strict=True):
        assert (got.kind, got.stream, got.route, got.header) == (
            want.kind,
            want.stream,
            want.route,
            want.header,
        )
        assert bytes(got.payload) == want.payload
        assert type(got.header) is bytes


async def both_ends_send(left: Channel, right: Channel) -> None:
    seen_left, seen_right = Seen(left), Seen(right)
    for number in range(50):
        left.send(Frame(Kind.DATA, number, payload=b"to the right"))
        right.send(Frame(Kind.DATA, number, payload=b"to the left"))
    await seen_left.until(50)
    await seen_right.until(50)
    assert [frame.stream for frame in seen_left.frames] == list(range(50))
    assert [frame.stream for frame in seen_right.frames] == list(range(50))


async def a_payload_may_be_several_buffers(left: Channel, right: Channel) -> None:
    seen = Seen(right)
    left.send(Frame(Kind.DATA, 1, payload=b"one "), b"two ", bytearray(b"three "), memoryview(b"four"), b"")
    left.send(Frame(Kind.DATA, 2), memoryview(bytes(8)).cast("Q"))
    left.send(Frame(Kind.DATA, 3), *[b"x"] * 3000)
    await seen.until(3)
    assert [bytes(frame.payload) for frame in seen.frames] == [b"one two three four", bytes(8), b"x" * 3000]


async def the_largest_frame_goes_through(left: Channel, right: Channel) -> None:
    seen = Seen(right)
    header, payload = b'"' + b"h" * (MAX_HEADER - 2) + b'"', os.urandom(MAX_PAYLOAD)
    left.send(Frame(Kind.DATA, 1, 0, header, payload))
    left.send(Frame(Kind.DATA, 2))
    await seen.until(2)
    assert seen.frames[0].header == header
    assert seen.frames[0].payload == payload


async def a_frame_beyond_the_limits_is_refused_and_harms_nothing(left: Channel, right: Channel) -> None:
    seen = Seen(right)
    for frame in (
        Frame(Kind.DATA, 1, 0, b"h" * (MAX_HEADER + 1)),
        Frame(Kind.DATA, 1, 0, b"", bytes(MAX_PAYLOAD + 1)),
        Frame(Kind.DATA, 2**32),
        Frame(Kind.DATA, 1, -1),
        Frame(Kind.DATA, 1, fds=(0,) * (MAX_FDS + 1)),
    ):
        _raised(FrameError, left.send, frame)
    left.send(Frame(Kind.DATA, 5))
    await seen.until(1)
    assert [frame.stream for frame in seen.frames] == [5]


async def what_was_received_may_be_kept(left: Channel, right: Channel) -> None:
    seen = Seen(right)
    for number in range(200):
        left.send(Frame(Kind.DATA, number, 0, b"%d" % number, bytes([number]) * (number * 300)))
    await seen.until(200)
    for number, frame in enumerate(seen.frames):
        assert frame.header == b"%d" % number
        assert frame.payload == bytes([number]) * (number * 300)


async def a_large_payload_is_writable_memory(left: Channel, right: Channel) -> None:
    seen = Seen(right)
    left.send(Frame(Kind.DATA, 1, payload=bytes(1_000_000)))
    await seen.until(1)
    view = memoryview(seen.frames[0].payload)
    assert not view.readonly
    view[0] = 1


async def a_sender_never_waits(left: Channel, right: Channel) -> None:
    seen = Seen(right)
    right.pause()
    block = bytes(1024 * 1024)
    for number in range(16):
        left.send(Frame(Kind.DATA, number, payload=block))
    assert left.buffered > DRAINED_BELOW
    assert right.buffered == 0
    right.resume()
    await seen.until(16)
    await left.drain(1)
    assert left.buffered == 0
    assert [frame.stream for frame in seen.frames] == list(range(16))


async def drain_waits_until_the_peer_reads(left: Channel, right: Channel) -> None:
    seen = Seen(right)
    right.pause()
    await left.drain()
    for number in range(8):
        left.send(Frame(Kind.DATA, number, payload=bytes(1024 * 1024)))
    waiting = asyncio.ensure_future(left.drain())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    right.resume()
    await asyncio.wait_for(waiting, PATIENCE_S)
    assert left.buffered < DRAINED_BELOW
    await seen.until(8)


async def drain_ends_within_the_round_that_answers_many(left: Channel, right: Channel) -> None:
    answering: list[asyncio.Task[None]] = []

    async def answer() -> None:
        right.send(Frame(Kind.DATA, 1))
        await right.drain(1)

    seen_left = Seen(left)
    seen_right = Seen(right, lambda _: answering.append(asyncio.ensure_future(answer())))
    for number in range(40):
        left.send(Frame(Kind.DATA, number))
    await seen_right.until(40)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*answering)
    await seen_left.until(40)


async def a_paused_end_gets_nothing_until_it_resumes(left: Channel, right: Channel) -> None:
    pausing = Seen(right, lambda frame: right.pause() if frame.stream % 3 == 0 else None)
    for number in range(10):
        left.send(Frame(Kind.DATA, number))
    for expected in (1, 4, 7, 10):
        await pausing.until(expected)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(pausing.frames) == expected
        right.resume()
    assert [frame.stream for frame in pausing.frames] == list(range(10))


async def an_end_paused_before_it_starts_stays_paused(left: Channel, right: Channel) -> None:
    right.pause()
    right.pause()
    seen = Seen(right)
    left.send(Frame(Kind.DATA, 1))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not seen.frames
    right.resume()
    right.resume()
    await seen.until(1)


async def frames_sent_before_the_peer_starts_wait_for_it(left: Channel, right: Channel) -> None:
    left.send(Frame(Kind.DATA, 1))
    left.send(Frame(Kind.DATA, 2))
    await asyncio.sleep(0)
    seen = Seen(right)
    await seen.until(2)


async def an_end_that_closes_lets_the_other_read_what_was_sent(left: Channel, right: Channel) -> None:
    seen_left, seen_right = Seen(left), Seen(right)
    left.send(Frame(Kind.FAIL, 1, 0, b'{"code":"SQ-1000"}'))
    await left.drain(1)
    left.close()
    left.close()
    assert left.closed
    assert await seen_right.end() is None
    assert [frame.kind for frame in seen_right.frames] == [Kind.FAIL]
    assert await seen_left.end() is None
    assert seen_left.ends == seen_right.ends == 1


async def a_closed_channel_says_so(left: Channel, right: Channel) -> None:
    seen_left, seen_right = Seen(left), Seen(right)
    assert not left.closed
    left.close()
    assert not seen_left.ends, "on_close may not come from within close()"
    _raised(ChannelClosed, left.send, Frame(Kind.DATA, 1))
    await _raised_by(ChannelClosed, left.drain())
    await seen_right.end()
    assert right.closed
    _raised(ChannelClosed, right.send, Frame(Kind.DATA, 1))


async def sending_to_a_peer_that_went_breaks_nothing(left: Channel, right: Channel) -> None:
    seen = Seen(left)
    right.close()
    try:
        for _ in range(100):
            left.send(Frame(Kind.DATA, 1, payload=bytes(10_000)))
    except ChannelClosed:
        pass
    assert isinstance(await seen.end(), ConnectionLost | None)


async def drain_ends_when_the_channel_does(left: Channel, right: Channel) -> None:
    for closing in (left, right):
        if left.closed:
            return
        Seen(left)
        right.pause()
        for _ in range(8):
            left.send(Frame(Kind.DATA, 1, payload=bytes(1024 * 1024)))
        waiting = asyncio.ensure_future(left.drain())
        await asyncio.sleep(0)
        closing.close()
        await _raised_by(ChannelClosed, waiting)


async def a_frame_error_in_a_callback_closes_the_channel(left: Channel, right: Channel) -> None:
    def refuse(frame: Frame) -> None:
        raise FrameError(f"no {frame.kind.name} here")

    seen_left, seen_right = Seen(left), Seen(right, refuse)
    left.send(Frame(Kind.DATA, 1))
    left.send(Frame(Kind.DATA, 2))
    error = await seen_right.end()
    assert isinstance(error, FrameError)
    assert len(seen_right.frames) == 1
    await seen_left.end()


async def any_other_error_in_a_callback_is_reported_and_holds_up_nothing(
    left: Channel, right: Channel
) -> None:
    def fail(frame: Frame) -> None:
        raise ZeroDivisionError(frame.stream)

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(str(context.get("exception")))
    )
    seen = Seen(right, fail)
    for number in range(5):
        left.send(Frame(Kind.DATA, number))
    await seen.until(5)
    await asyncio.sleep(0)
    left.send(Frame(Kind.DATA, 5))
    await seen.until(6)
    await asyncio.sleep(0)
    assert reported == [str(number) for number in range(6)]


async def descriptors_travel_with_their_frame(left: Channel, right: Channel) -> None:
    taken: list[tuple[int, ...]] = []
    seen = Seen(right, lambda frame: taken.append(frame.take_fds()))
    pipes = [os.pipe() for _ in range(MAX_FDS)]
    try:
        left.send(Frame(Kind.DATA, 1))
        left.send(Frame(Kind.DATA, 2, fds=tuple(end for end, _ in pipes)))
        left.send(Frame(Kind.DATA, 3, fds=(pipes[0][0],)))
        left.send(Frame(Kind.DATA, 4))
        await seen.until(4)
        assert [len(fds) for fds in taken] == [0, MAX_FDS, 1, 0]
        for (_, end), fd in zip(pipes, taken[1], strict=True):
            os.write(end, b"%d" % end)
            assert os.read(fd, 10) == b"%d" % end
            assert not os.get_inheritable(fd)
    finally:
        close_all([fd for fds in taken for fd in fds])
        close_all([end for ends in pipes for end in ends])


async def descriptors_wait_with_a_frame_that_waits(left: Channel, right: Channel) -> None:
    taken: list[tuple[int, ...]] = []
    seen = Seen(right, lambda frame: taken.append(frame.take_fds()))
    right.pause()
    block = bytes(1024 * 1024)
    for number in range(8):
        end, other = os.pipe()
        os.write(other, b"%d" % number)
        left.send(Frame(Kind.DATA, number, payload=block, fds=(end,)))
        close_all([end, other])  # the channel has its own
    right.resume()
    await seen.until(8)
    for number, fds in enumerate(taken):
        assert os.read(fds[0], 10) == b"%d" % number
        close_all(fds)


async def descriptors_that_nobody_takes_are_closed(left: Channel, right: Channel) -> None:
    arrived: list[int] = []
    seen = Seen(right, lambda frame: arrived.extend(frame.fds))
    end, other = os.pipe()
    left_open = opened(end)  # of both ends
    left.send(Frame(Kind.DATA, 1, fds=(end, other)))
    left.send(Frame(Kind.DATA, 2))
    left.send(Frame(Kind.DATA, 3, fds=(end,)))
    await seen.until(3)
    await asyncio.sleep(0)
    close_all([end, other])
    assert len(arrived) == 3
    assert left_open() == 0


async def a_channel_that_closes_closes_its_descriptors(left: Channel, right: Channel) -> None:
    seen_left, seen_right = Seen(left), Seen(right)
    right.pause()
    end, other = os.pipe()
    left_open = opened(end)
    for number in range(8):
        left.send(Frame(Kind.DATA, number, payload=bytes(1024 * 1024), fds=(end, other)))
    close_all([end, other])
    left.close()
    right.close()
    await seen_left.end()
    await seen_right.end()
    assert left_open() == 0


CHECKS: Final[tuple[Check, ...]] = (
    frames_arrive_as_they_were_sent,
    both_ends_send,
    a_payload_may_be_several_buffers,
    the_largest_frame_goes_through,
    a_frame_beyond_the_limits_is_refused_and_harms_nothing,
    what_was_received_may_be_kept,
    a_large_payload_is_writable_memory,
    a_sender_never_waits,
    drain_waits_until_the_peer_reads,
    drain_ends_within_the_round_that_answers_many,
    a_paused_end_gets_nothing_until_it_resumes,
    an_end_paused_before_it_starts_stays_paused,
    frames_sent_before_the_peer_starts_wait_for_it,
    an_end_that_closes_lets_the_other_read_what_was_sent,
    a_closed_channel_says_so,
    sending_to_a_peer_that_went_breaks_nothing,
    drain_ends_when_the_channel_does,
    a_frame_error_in_a_callback_closes_the_channel,
    any_other_error_in_a_callback_is_reported_and_holds_up_nothing,
    *channel_files.CHECKS,
)
# What holds between processes of one machine.
DESCRIPTOR_CHECKS: Final[tuple[Check, ...]] = (
    descriptors_travel_with_their_frame,
    descriptors_wait_with_a_frame_that_waits,
    descriptors_that_nobody_takes_are_closed,
    a_channel_that_closes_closes_its_descriptors,
)


async def check_channel(
    make: Callable[[], Awaitable[tuple[Channel, Channel]]], *, one_machine: bool = True
) -> None:
    """Run every check, each on a fresh pair of connected channels that `make` gives; an AssertionError says what fails.

    one_machine: whether both ends are always on one, so that open files of all kinds travel.
    """
    for check in CHECKS + (DESCRIPTOR_CHECKS if one_machine else ()):
        left, right = await make()
        try:
            await check(left, right)
        finally:
            left.close()
            right.close()


def _raised(kind: type[E], function: Callable[[Frame], None], frame: Frame) -> E:
    try:
        function(frame)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


async def _raised_by(kind: type[E], awaited: Awaitable[None]) -> E:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await awaited
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
