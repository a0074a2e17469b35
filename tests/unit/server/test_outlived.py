"""Containers that outlived a server: what the next one gives them is theirs as any other's."""

from __future__ import annotations

from typing import Any

from squall.model.container import ContainerEnd
from squall.model.ids import ContainerId
from tests.unit.server.stage import NODE, FakeContainer, Stage, play, settle

NAME = ContainerId("co-old")


async def outlived(stage: Stage, sent: int = 0, **head: Any) -> FakeContainer:
    """A container that ran before this server did, and has caught up."""
    stage.nodes.join(NODE, ({"container": NAME, "function": stage.record.function.id, "pid": 7},))
    return await stage.serve(NAME, sent, ready={"seconds": 0.1}, **{"holding": [], **head})


def test_what_is_lost_on_its_way_to_a_container_that_outlived_a_server_is_given_out_again() -> None:
    async def scene() -> None:
        stage = Stage()
        old = await outlived(stage)
        client = await stage.submit(1)
        assert old.leases == [("fc-1", 0, 1, 1)]
        # The agent dies over that very frame: the container opens its stream anew, and holds nothing.
        again = await stage.serve(NAME, ready={"seconds": 0.1}, holding=[])
        assert again.leases == [("fc-1", 0, 1, 1)]
        again.finish(again.leases[0])
        await settle()
        assert client.ended

    play(scene)


def test_who_has_nothing_left_to_say_keeps_nobody_waiting_after_a_restart() -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.submit(1)
        old = await outlived(stage, sent=7, kept=0)
        assert old.leases == [("fc-1", 0, 1, 1)]
        old.finish(old.leases[0])
        await settle()
        assert stage.calls.workers[NAME].seen == 8

    play(scene)


def test_who_has_something_left_to_say_is_waited_for_after_a_restart() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit(1)
        old = await outlived(stage, sent=7, kept=1)
        assert not old.leases
        old.sent = 6
        old.finish(("fc-1", 0, 1, 1))
        await settle()
        assert client.outcomes() == {0: (0, b"0")}

    play(scene)


def test_the_time_of_what_a_container_holds_runs_after_a_restart_too() -> None:
    async def scene() -> None:
        stage = Stage(timeout_s=5.0)
        await stage.submit(1)
        old = await outlived(stage, holding=[["fc-1", 0, 1, 1]])
        stage.wait(6.0)
        stage.capacity.plan_once()
        await settle()
        assert [head["why"] for head in old.heard("interrupt")] == ["timeout"]

    play(scene)


def test_a_container_that_may_have_missed_how_many_items_are_taken_is_told_again() -> None:
    async def scene() -> None:
        stage = Stage(is_generator=True)
        box = await stage.container()
        client = await stage.submit(1)
        stage.calls.credit(client.record, 32)
        stage.calls.credit(client.record, 16)
        await settle()
        assert [head["upto"] for head in box.heard("credit")] == [32, 48]
        again = await stage.serve(box.id, sent=box.sent, ready={"seconds": 0.1}, holding=[["fc-1", 0, 1, 1]])
        assert [head["upto"] for head in again.heard("credit")] == [48]

    play(scene)


def test_the_next_container_of_a_generator_is_told_how_many_items_are_taken() -> None:
    async def scene() -> None:
        stage = Stage(is_generator=True)
        lost = await stage.container()
        client = await stage.submit(1)
        stage.calls.credit(client.record, 32)
        stage.containers.ended(lost.id, ContainerEnd(cause="killed"))
        fresh = await stage.container()
        assert fresh.leases == [("fc-1", 0, 1, 2)]
        assert [head["upto"] for head in fresh.heard("credit")] == [32]

    play(scene)
