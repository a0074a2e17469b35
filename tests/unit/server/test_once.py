"""Inputs of functions that begin none twice: what happens to them when containers, servers and connections are lost."""

from __future__ import annotations

import pytest

from squall.model.container import ContainerEnd
from squall.model.function import Retries
from squall.model.ids import CallId, ContainerId
from squall.server.calls import DOUBT_S
from squall.wire.codec import Frame, Kind
from tests.unit.server.stage import NODE, Client, Stage, error_in, play, settle

ENDS = [
    ContainerEnd(cause="signal", signal=9),
    ContainerEnd(cause="killed"),
    ContainerEnd(cause="oom", memory_limit_bytes=2**30),
    ContainerEnd(cause="exit", code=3),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.cause)
def test_what_was_in_hand_ends_by_name_and_what_had_not_begun_runs_elsewhere(end: ContainerEnd) -> None:
    async def scene() -> None:
        stage = Stage(on_lost="fail")
        stage.record.pace = stage.record.pace.seen(seconds=1e-6, inputs=1)
        box = await stage.container()
        client = await stage.submit(3)
        assert box.leases == [("fc-1", 0, 1, 1)], "several are in hand, and nobody knows which have begun"
        stage.containers.ended(box.id, end)
        await settle()
        named = {"oom": "SQ-1401", "exit": "SQ-1405"}.get(end.cause, "SQ-1313")
        assert error_in(client.outcomes()[0])["code"] == named
        other = await stage.container()
        for number in range(2):
            assert other.leases[number] == ("fc-1", number + 1, number + 2, 1)
            other.finish(other.leases[number])
            await settle()
        assert client.ended

    play(scene)


def test_its_own_policy_still_tries_again_what_raised() -> None:
    async def scene() -> None:
        stage = Stage(on_lost="fail", retries=Retries(max_retries=1, initial_delay=0.0))
        box = await stage.container()
        client = await stage.submit()
        box.finish(box.leases[0], kind=1)
        await settle()
        stage.wait(0.1)
        await settle()
        box.finish(box.leases[1])
        await settle()
        assert client.outcomes() == {0: (0, b"0")}

    play(scene)


async def sent_again(stage: Stage, count: int) -> Client:
    """A client that had sent these to a server before this one."""
    client = stage.client()
    await settle()
    client.record.stream = stage.opened()
    head = {"start": 0, "d": [1] * count, "total": count, "again": 1}
    stage.calls.submit(client.record, head, Frame(Kind.DATA, payload=b"x" * count))
    await settle()
    return client


def test_after_a_restart_what_a_container_has_goes_on_and_what_nobody_has_is_not_begun_again() -> None:
    async def scene() -> None:
        stage = Stage(on_lost="fail")
        stage.nodes.join(NODE, ({"container": "co-a", "function": stage.record.function.id, "pid": 7},))
        client = await sent_again(stage, 3)
        fresh = await stage.container()
        await stage.submit(1, name="fc-new")
        box = await stage.serve(
            ContainerId("co-a"), sent=2, ready={"seconds": 0.1}, holding=[["fc-1", 1, 2, 1]]
        )
        box.sent = 1
        box.finish(("fc-1", 0, 1, 1))
        await settle()
        box.finish(("fc-1", 1, 2, 1))
        await settle()
        assert sorted(client.outcomes()) == [0, 1]
        assert not fresh.leases, "the third may have begun in a container that is still to speak"
        stage.wait(DOUBT_S)
        await settle()
        assert error_in(client.outcomes()[2])["code"] == "SQ-1313"
        assert client.ended
        assert fresh.leases + box.leases == [("fc-new", 0, 1, 1)]

    play(scene)


def test_what_was_never_sent_before_does_not_wait() -> None:
    async def scene() -> None:
        stage = Stage(on_lost="fail")
        box = await stage.container()
        await stage.submit()
        assert box.leases

    play(scene)


def test_a_call_that_is_cancelled_meanwhile_holds_up_nobody() -> None:
    async def scene() -> None:
        stage = Stage(on_lost="fail")
        box = await stage.container()
        await sent_again(stage, 2)
        await stage.submit(1, name="fc-2")
        assert not box.leases
        stage.calls.cancel(CallId("fc-1"))
        stage.calls.feed(stage.record)
        await settle()
        assert box.leases == [("fc-2", 0, 1, 1)]
        stage.wait(DOUBT_S)

    play(scene)


def test_other_functions_run_again_what_is_sent_again() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        await sent_again(stage, 1)
        assert box.leases == [("fc-1", 0, 1, 1)]

    play(scene)
