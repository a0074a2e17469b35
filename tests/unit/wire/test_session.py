"""Sessions: questions, answers, streams, and what a peer may not do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from squall.model.errors import (
    ChannelClosed,
    ConnectionLost,
    FrameError,
    InternalFailure,
    NotFoundError,
    OutOfMemory,
)
from squall.wire import memory_channel
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import MemoryChannel
from squall.wire.session import Session
from squall.wire.stream import Stream

_PATIENCE_S = 10.0


class Both:
    """Two sessions that face each other; what the acceptor is asked is kept in `asked`."""

    def __init__(self, on_open: Callable[[Stream, dict[str, Any], Frame], None] | None = None) -> None:
        self.asked: list[tuple[Stream, dict[str, Any], bytes]] = []
        self.got: list[Frame] = []
        self.closes: list[Exception | None] = []
        self._on_open = on_open
        left, right = memory_channel.pair()
        self.dialer = Session(left, dialer=True, on_close=self.closes.append)
        self.acceptor = Session(right, dialer=False, on_open=self._open, on_close=self.closes.append)

    def _open(self, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        self.asked.append((stream, head, bytes(frame.payload)))
        stream.on_frame = self.got.append
        if self._on_open is not None:
            self._on_open(stream, head, frame)


class Raw:
    """A session whose peer is the test itself, with a channel of its own."""

    def __init__(self, *, dialer: bool = False) -> None:
        self.opened: list[Stream] = []
        self.got: list[Frame] = []
        self.replies: list[Frame] = []
        self.route_errors: list[tuple[int, FrameError]] = []
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.channel, ours = memory_channel.pair()
        self.session = Session(ours, dialer=dialer, on_open=self._open, on_close=self.ended.set_result)
        self.session.on_route_error = lambda route, error: self.route_errors.append((route, error))
        self.channel.start(self.replies.append, lambda _: None)

    def _open(self, stream: Stream, _: dict[str, Any], __: Frame) -> None:
        stream.on_frame = self.got.append
        self.opened.append(stream)

    async def error(self) -> Exception | None:
        return await asyncio.wait_for(self.ended, _PATIENCE_S)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(_PATIENCE_S):
            await main()

    asyncio.run(bounded())


def echo(stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    stream.end({"asked": head["t"], "n": head.get("n")}, frame.payload)


def test_a_question_gets_its_answer() -> None:
    async def main() -> None:
        both = Both(echo)
        answers = await asyncio.gather(*(both.dialer.ask("echo", {"n": n}, b"%d" % n) for n in range(20)))
        assert [(a.kind, a.head(), a.payload) for a in answers] == [
            (Kind.END, {"asked": "echo", "n": n}, b"%d" % n) for n in range(20)
        ]
        assert both.dialer.streams == both.acceptor.streams == 0

    run(main)


def test_either_side_may_ask() -> None:
    async def main() -> None:
        left, right = memory_channel.pair()
        sessions = [Session(left, dialer=True, on_open=echo), Session(right, dialer=False, on_open=echo)]
        for session in sessions:
            assert (await session.ask("who")).head()["asked"] == "who"

    run(main)


def test_a_failure_is_raised_as_the_error_it_was() -> None:
    def refuse(stream: Stream, _: dict[str, Any], __: Frame) -> None:
        stream.fail(OutOfMemory("the container used 3 GiB", remedy="ask for more", limit_bytes=1 << 30))

    async def main() -> None:
        with pytest.raises(OutOfMemory, match="3 GiB") as caught:
            await Both(refuse).dialer.ask("x")
        assert caught.value.remedy == "ask for more"
        assert caught.value.limit_bytes == 1 << 30

    run(main)


def test_an_error_that_does_not_fit_into_a_header_still_arrives() -> None:
    def refuse(stream: Stream, _: dict[str, Any], __: Frame) -> None:
        stream.fail(NotFoundError("ü" * 100_000, culprit=object()))

    async def main() -> None:
        with pytest.raises(NotFoundError, match="üüü"):
            await Both(refuse).dialer.ask("x")

    run(main)


def test_code_that_fails_fails_its_own_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    def fail(stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        if head["t"] == "bad":
            raise ZeroDivisionError
        echo(stream, head, frame)

    async def main() -> None:
        both = Both(fail)
        with pytest.raises(InternalFailure):
            await both.dialer.ask("bad")
        assert (await both.dialer.ask("good")).head()["asked"] == "good"

    run(main)
    assert "ZeroDivisionError" in caplog.text


def test_a_side_that_takes_no_questions_says_so() -> None:
    async def main() -> None:
        left, right = memory_channel.pair()
        Session(left, dialer=True)
        with pytest.raises(FrameError, match="no questions"):
            await Session(right, dialer=False).ask("x")

    run(main)


def test_data_and_credit_go_both_ways_until_the_answer() -> None:
    async def main() -> None:
        both, back = Both(), list[Frame]()
        stream = both.dialer.open("upload", {"n": 1}, b"first", on_frame=back.append)
        stream.send({"part": 1}, b"one", b"two")
        stream.credit(5)
        stream.end()
        await settle()
        answering = both.asked[0][0]
        assert [(f.kind, f.head(), f.payload) for f in both.got] == [
            (Kind.DATA, {"part": 1}, b"onetwo"),
            (Kind.CREDIT, {"n": 5}, b""),
            (Kind.END, {}, b""),
        ]
        with pytest.raises(ChannelClosed):
            stream.send()
        answering.credit(2)
        answering.send({}, b"part")
        answering.end({"done": True})
        assert not answering.live
        await settle()
        assert [f.kind for f in back] == [Kind.CREDIT, Kind.DATA, Kind.END]
        assert not stream.live
        for late in (stream, answering):
            with pytest.raises(ChannelClosed):
                late.end()
            late.fail(NotFoundError("too late"))
            late.cancel()
            late.credit(1)
        await settle()
        assert both.closes == []

    run(main)


def test_a_cancelled_question_tells_the_other_side_and_its_late_answer_harms_nothing() -> None:
    async def main() -> None:
        both = Both()
        question = asyncio.ensure_future(both.dialer.ask("slow"))
        await settle()
        question.cancel()
        await settle()
        assert [frame.kind for frame in both.got] == [Kind.CANCEL]
        assert both.asked[0][0].cancelled
        read, write = os.pipe()
        both.asked[0][0].send({}, b"late")
        both.asked[0][0].end({}, fds=(read, write))
        os.close(read)
        os.close(write)
        await settle()
        assert both.dialer.streams == both.acceptor.streams == 0
        assert both.closes == []

    run(main)


def test_frames_that_crossed_the_answer_are_dropped() -> None:
    async def main() -> None:
        raw = Raw()
        raw.channel.send(Frame(Kind.OPEN, 1, 0, b'{"t":"x"}'))
        await settle()
        raw.opened[0].end()
        for kind, header in (
            (Kind.DATA, b""),
            (Kind.CREDIT, b'{"n":1}'),
            (Kind.CANCEL, b""),
            (Kind.END, b""),
        ):
            raw.channel.send(Frame(kind, 1, 0, header))
        await settle()
        assert raw.got == []
        assert not raw.ended.done()

    run(main)


def test_a_lost_connection_is_told_to_every_stream() -> None:
    async def main() -> None:
        both, back = Both(), list[Frame]()
        question = asyncio.ensure_future(both.dialer.ask("x"))
        ping = asyncio.ensure_future(both.dialer.channel.drain())
        stream = both.dialer.open("y", on_frame=back.append)
        await settle()
        both.acceptor.close()
        await settle()
        with pytest.raises(ConnectionLost):
            await question
        await ping
        assert [frame.head()["code"] for frame in back] == [ConnectionLost.code]
        assert [frame.kind for frame in both.got] == [Kind.CANCEL, Kind.CANCEL]
        assert both.closes == [None, None]
        assert both.dialer.streams == both.acceptor.streams == 0
        with pytest.raises(ChannelClosed):
            await both.dialer.ask("after")
        stream.cancel()

    run(main)


def test_a_ping_is_answered() -> None:
    async def main() -> None:
        both = Both()
        await both.dialer.ping()
        await both.acceptor.ping()
        both.acceptor.close()
        with pytest.raises(ConnectionLost):
            await both.dialer.ping()

    run(main)


def test_an_answer_brings_descriptors_that_the_asker_owns() -> None:
    def lend(stream: Stream, _: dict[str, Any], frame: Frame) -> None:
        stream.end({}, fds=frame.fds)

    async def main() -> None:
        both = Both(lend)
        read, write = os.pipe()
        answer = await both.dialer.ask("lend", None, fds=(write,))
        (lent,) = answer.take_fds()
        os.write(lent, b"through")
        assert os.read(read, 10) == b"through"
        for fd in (read, write, lent):
            os.close(fd)

    run(main)


def test_questions_beyond_the_limit_wait_their_turn() -> None:
    async def main() -> None:
        both = Both()
        both.dialer.stream_limit = both.acceptor.stream_limit = 4
        questions = [asyncio.ensure_future(both.dialer.ask("x", {"n": n})) for n in range(11)]
        answered = 0
        while answered < 11:
            await settle()
            assert len(both.asked) - answered == min(4, 11 - answered)
            both.asked[answered][0].end({"n": answered})
            answered += 1
        assert [answer.head()["n"] for answer in await asyncio.gather(*questions)] == list(range(11))
        with pytest.raises(FrameError):
            for _ in range(5):
                both.dialer.open("y")

    run(main)


def test_a_question_that_waits_for_its_turn_ends_with_the_connection() -> None:
    async def main() -> None:
        both = Both()
        both.dialer.stream_limit = 1
        questions = [asyncio.ensure_future(both.dialer.ask("x")) for _ in range(3)]
        await settle()
        questions[1].cancel()
        both.acceptor.close()
        for question in (questions[0], questions[2]):
            with pytest.raises(ConnectionLost):
                await question

    run(main)


def test_a_waiting_question_that_is_cancelled_with_its_turn_passes_the_turn_on() -> None:
    async def main() -> None:
        both = Both()
        both.dialer.stream_limit = 1
        questions = [asyncio.ensure_future(both.dialer.ask("x")) for _ in range(3)]
        await settle()
        # The answer comes in the loop's next round, the turn that it frees is taken in the one after it.
        both.asked[0][0].end()
        asyncio.get_running_loop().call_soon(questions[1].cancel)
        await settle()
        assert questions[1].cancelled()
        assert len(both.asked) == 2
        both.asked[-1][0].end()
        await asyncio.wait_for(questions[2], _PATIENCE_S)

    run(main)


def test_a_waiting_question_that_cannot_be_sent_passes_its_turn_on() -> None:
    async def main() -> None:
        both = Both()
        both.dialer.stream_limit = 1
        texts = ["x", "x" * 100_000, "x"]
        questions = [asyncio.ensure_future(both.dialer.ask("x", {"text": text})) for text in texts]
        await settle()
        both.asked[0][0].end()
        with pytest.raises(FrameError):
            await questions[1]
        await settle()
        both.asked[1][0].end()
        await questions[2]

    run(main)


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(Kind.DATA, 1)],
        [Frame(Kind.END, 2)],
        [Frame(Kind.DATA, 0)],
        [Frame(Kind.OPEN, 2, 0, b'{"t":"x"}')],
        [Frame(Kind.OPEN, 0, 0, b'{"t":"x"}')],
        [Frame(Kind.OPEN, 1, 0, b"[]")],
        [Frame(Kind.OPEN, 1, 0, b"{"), Frame(Kind.OPEN, 3)],
        [Frame(Kind.OPEN, 1), Frame(Kind.OPEN, 1)],
        [Frame(Kind.OPEN, 3), Frame(Kind.OPEN, 1), Frame(Kind.OPEN, 1)],
        [Frame(Kind.OPEN, 3), Frame(Kind.OPEN, 1), Frame(Kind.OPEN, 3)],
        [Frame(Kind.OPEN, 5), Frame(Kind.OPEN, 2)],
        [Frame(Kind.OPEN, 1), Frame(Kind.END, 1), Frame(Kind.END, 1)],
        [Frame(Kind.OPEN, 1), Frame(Kind.END, 1), Frame(Kind.FAIL, 1)],
        [Frame(Kind.OPEN, 1), Frame(Kind.END, 1), Frame(Kind.DATA, 1)],
        [Frame(Kind.OPEN, 1), Frame(Kind.CANCEL, 1), Frame(Kind.CANCEL, 1)],
        [Frame(Kind.OPEN, 1), Frame(Kind.CREDIT, 1)],
        [Frame(Kind.OPEN, 1), Frame(Kind.CREDIT, 1, 0, b'{"n":0}')],
        [Frame(Kind.OPEN, 1), Frame(Kind.CREDIT, 1, 0, b'{"n":true}')],
        [Frame(Kind.OPEN, 1), Frame(Kind.CREDIT, 1, 0, b'{"n":1e9}')],
        [Frame(Kind.OPEN, 1), Frame(Kind.CREDIT, 1, 0, b'{"n":2147483648}')],
        [Frame(Kind.OPEN, number, 0, b"") for number in range(1, 12, 2)],
    ],
)
def test_what_a_peer_may_not_do_closes_the_connection(frames: list[Frame]) -> None:
    async def main() -> None:
        raw = Raw()
        raw.session.stream_limit = 5
        for frame in frames:
            raw.channel.send(frame)
        assert type(await raw.error()) is FrameError
        assert raw.session.streams == 0
        assert isinstance(raw.channel, MemoryChannel)

    run(main)


@pytest.mark.parametrize("kind", [Kind.CANCEL, Kind.OPEN, Kind.END])
def test_what_an_answering_peer_may_not_do_closes_the_connection(kind: Kind) -> None:
    async def main() -> None:
        raw, back = Raw(dialer=True), list[Frame]()
        stream = raw.session.open("x", on_frame=back.append)
        if kind is Kind.END:
            raw.channel.send(Frame(kind, stream.id))
        raw.channel.send(Frame(kind, stream.id))
        assert type(await raw.error()) is FrameError

    run(main)


def test_what_goes_wrong_on_a_route_stays_on_it() -> None:
    async def main() -> None:
        raw, back = Raw(), list[Frame]()
        raw.channel.send(Frame(Kind.OPEN, 1, 0, b'{"t":"x"}'))
        raw.channel.send(Frame(Kind.OPEN, 1, 7, b'{"t":"x"}'))
        raw.channel.send(Frame(Kind.OPEN, 1, 8, b'{"t":"x"}'))
        stream = raw.session.open("to seven", route=7, on_frame=back.append)
        raw.channel.send(Frame(Kind.DATA, 99, 7))
        raw.channel.send(Frame(Kind.DATA, 1, 7))
        raw.channel.send(Frame(Kind.OPEN, 3, 7, b'{"t":"x"}'))
        await settle()
        assert [route for route, _ in raw.route_errors] == [7]
        assert [(frame.kind, frame.route) for frame in raw.got] == [(Kind.CANCEL, 7)]
        assert [frame.kind for frame in back] == [Kind.FAIL]
        assert not stream.live
        assert not raw.ended.done()
        assert raw.session.streams == 2
        raw.session.close_route(7)
        raw.channel.send(Frame(Kind.OPEN, 1, 7, b'{"t":"x"}'))
        await settle()
        assert raw.session.streams == 3
        raw.session.close_route(8)
        assert raw.got[-1].route == 8

    run(main)


def test_a_relay_gets_frames_of_other_routes_unread() -> None:
    async def main() -> None:
        raw, passed = Raw(), list[Frame]()
        raw.session.on_relay = passed.append
        raw.channel.send(Frame(Kind.END, 99, 5, b"no json", b"payload"))
        raw.channel.send(Frame(Kind.OPEN, 1, 0, b'{"t":"x"}'))
        await settle()
        assert [(frame.stream, frame.route, frame.header, frame.payload) for frame in passed] == [
            (99, 5, b"no json", b"payload")
        ]
        assert len(raw.opened) == 1

    run(main)


def test_pings_of_a_peer_that_does_not_read_are_not_answered_for_ever() -> None:
    async def main() -> None:
        raw = Raw()
        raw.channel.pause()
        for _ in range(40):
            raw.channel.send(Frame(Kind.PING, payload=bytes(100_000)))
            await settle()
        assert raw.session.channel.buffered < 2 * 1024 * 1024

    run(main)
