"""A peer that goes without having read everything is noticed on every loop, and its last words are heard."""

from __future__ import annotations

import asyncio
import socket

import pytest

from squall.wire.codec import Frame, Kind, encode
from squall.wire.hang_ups import hang_ups_of
from squall.wire.socket_channel import SocketChannel
from tests.remote import LOOPS, run

ANSWER = Frame(Kind.PING, payload=b"an answer that nobody reads")


def said(word: bytes) -> bytes:
    return b"".join(bytes(part) for part in encode(Frame(Kind.PING, payload=word)))


class Heard:
    """A channel over one end of a pair, and what it has heard up to its end. theirs: the other end."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.words: list[bytes] = []
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.channel = SocketChannel(ours)
        self.channel.start(lambda frame: self.words.append(bytes(frame.payload)), self.ended.set_result)

    async def end(self) -> None:
        async with asyncio.timeout(10):
            await self.ended


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_goes_with_an_answer_unread_ends_the_channel(loop: str) -> None:
    async def main() -> None:
        heard = Heard()
        heard.channel.send(ANSWER)
        await asyncio.sleep(0)
        heard.theirs.close()
        await heard.end()
        assert heard.channel.closed

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_it_said_before_it_went_is_heard(loop: str) -> None:
    async def main() -> None:
        heard = Heard()
        heard.channel.send(ANSWER)
        heard.theirs.sendall(b"".join(said(b"%d" % number) for number in range(5000)))
        heard.theirs.close()
        await heard.end()
        assert heard.words == [b"%d" % number for number in range(5000)]

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_channel_that_reads_nothing_just_now_notices_it_as_soon_as_it_reads_again(loop: str) -> None:
    async def main() -> None:
        heard = Heard()
        heard.channel.send(ANSWER)
        heard.channel.pause()
        heard.theirs.sendall(said(b"last"))
        heard.theirs.close()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not heard.words
        assert not heard.channel.closed
        heard.channel.resume()
        await heard.end()
        assert heard.words == [b"last"]

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_fails_when_told_keeps_nobody_else_from_being_told(loop: str) -> None:
    async def main() -> None:
        running = asyncio.get_running_loop()
        hang_ups = hang_ups_of(running)
        if hang_ups is None:
            assert loop == "asyncio"
            return
        problems: list[object] = []
        running.set_exception_handler(lambda _loop, context: problems.append(context.get("exception")))
        pairs = [socket.socketpair() for _ in range(2)]
        told = asyncio.Event()

        def fail() -> None:
            raise ZeroDivisionError

        hang_ups.add(pairs[0][0].fileno(), fail)
        hang_ups.add(pairs[1][0].fileno(), told.set)
        for _ours, theirs in pairs:
            theirs.close()
        async with asyncio.timeout(10):
            await told.wait()
        assert [type(problem) for problem in problems] == [ZeroDivisionError]
        for ours, _theirs in pairs:
            hang_ups.remove(ours.fileno())
            ours.close()

    run(loop, main)
