"""The heartbeat: the server hears of the agent, and an agent leaves a server that answers nothing."""

from __future__ import annotations

import asyncio

from squall.agent.heartbeat import beat
from squall.model.errors import Error
from squall.scheduling.liveness import Patience
from squall.wire.codec import Frame
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream

QUICK = Patience(heartbeat_s=0.01, suspect_after_s=0.03, dead_after_s=0.1)


def test_an_agent_says_that_it_lives_as_long_as_the_server_answers() -> None:
    async def scene() -> None:
        left, right = pair()
        heard: list[object] = []

        def on_open(stream: Stream, _head: object, _frame: Frame) -> None:
            stream.on_frame = lambda frame: heard.append(frame.head()["t"])

        Session(right, dialer=False, on_open=on_open)
        agent = Session(left, dialer=True)
        beating = asyncio.create_task(beat(agent, agent.open("join"), QUICK))
        async with asyncio.timeout(10):
            while len(heard) < 15:
                await asyncio.sleep(0.01)
        assert set(heard) == {"alive"}
        assert not beating.done()
        agent.close()
        async with asyncio.timeout(10):
            await beating

    asyncio.run(scene())


def test_a_server_that_answers_nothing_is_left() -> None:
    async def scene() -> None:
        left, right = pair()
        right.start(lambda _frame: None, lambda _error: None)
        agent = Session(left, dialer=True)
        async with asyncio.timeout(10):
            await beat(agent, agent.open("join"), QUICK)
        assert left.closed

    asyncio.run(scene())


def test_a_server_that_has_let_go_of_the_node_is_left() -> None:
    async def scene() -> None:
        left, right = pair()
        Session(
            right, dialer=False, on_open=lambda stream, _head, _frame: stream.fail(Error("something broke"))
        )
        agent = Session(left, dialer=True)
        async with asyncio.timeout(10):
            await beat(agent, agent.open("join"), QUICK)
        assert left.closed

    asyncio.run(scene())
