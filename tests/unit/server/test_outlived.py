"""Containers that outlived a server: what the next one gives them is theirs as any other's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from squall.model.call import OutcomeKind
from squall.model.container import ContainerEnd, ContainerState
from squall.model.errors import InputCancelled, InputLost, InputNotRunAgain
from squall.model.ids import CallId, ContainerId, NodeId
from squall.scheduling.inputs import Segment
from squall.server.node_events import ORPHAN_GRACE_S
from squall.server.outcome_runs import OutcomeRun
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


@pytest.mark.parametrize("held", [True, False])
def test_what_the_server_of_before_had_interrupted_for_a_lost_client_runs_again_for_it(held: bool) -> None:
    async def scene() -> None:
        stage = Stage()
        holding = [["fc-1", 0, 1, 1]] if held else []
        client = await stage.submit(1) if held else None
        old = await outlived(stage, sent=7, kept=1, holding=holding)
        old.sent = 6
        old.fail(("fc-1", 0, 1, 1), InputCancelled("the input was cancelled while it ran"))
        await settle()
        client = client or await stage.submit(1)
        assert not client.frames
        old.finish(old.leases[-1])
        await settle()
        assert client.outcomes() == {0: (0, b"0")}

    play(scene)


@pytest.mark.parametrize(
    ("fields", "sent", "code"),
    [({"on_lost": "fail"}, 0, InputNotRunAgain.code), ({"is_generator": True}, 2, InputLost.code)],
)
def test_what_was_interrupted_and_may_not_run_again_ends_with_that(
    fields: dict[str, Any], sent: int, code: str
) -> None:
    async def scene() -> None:
        stage = Stage(**fields)
        client = await stage.submit(1)
        old = await outlived(stage, sent=7, kept=1, holding=[["fc-1", 0, 1, 1]])
        old.sent = 6
        client.record.items_sent = sent
        old.fail(("fc-1", 0, 1, 1), InputCancelled("the input was cancelled while it ran"))
        await settle()
        kind, text = client.outcomes()[0]
        assert (kind, json.loads(text)["code"]) == (int(OutcomeKind.FAILED), code)

    play(scene)


def test_what_a_container_was_once_found_with_is_no_lease_of_it_when_the_call_comes_another_time() -> None:
    async def scene() -> None:
        stage = Stage()
        old = await outlived(stage, sent=6, kept=0)
        first = await stage.submit(1)
        assert old.leases == [("fc-1", 0, 1, 1)]
        # The agent's connection was new meanwhile: the container says again what it has in hand.
        again = await stage.serve(NAME, sent=6, ready={"seconds": 0.1}, holding=[["fc-1", 0, 1, 1]])
        again.sent = 6
        again.finish(("fc-1", 0, 1, 1))
        await settle()
        assert first.ended
        # Its client has lost its connection, and with it this outcome.
        second = await stage.submit(1)
        assert again.leases == [("fc-1", 0, 1, 1)]
        again.finish(again.leases[0])
        await settle()
        assert second.outcomes() == {0: (0, b"0")}
        assert stage.calls.workers[NAME].state is ContainerState.IDLE

    play(scene)


def test_a_container_that_says_early_what_it_was_found_with_takes_more() -> None:
    async def scene() -> None:
        stage = Stage()
        old = await outlived(stage, sent=6, holding=[["fc-1", 0, 2, 1]])
        old.sent = 6
        old.finish(("fc-1", 0, 2, 1))
        await settle()
        first = await stage.submit(2)
        assert first.outcomes() == {0: (0, b"0"), 1: (0, b"1")}
        second = await stage.submit(1, name="fc-2")
        assert old.leases == [("fc-2", 0, 1, 1)]
        old.finish(old.leases[0])
        await settle()
        assert second.ended

    play(scene)


def test_of_inputs_that_come_again_one_by_one_none_runs_a_second_time_that_has_ended() -> None:
    async def scene() -> None:
        stage = Stage()
        old = await outlived(stage, sent=6, holding=[["fc-1", 0, 3, 1]])
        old.sent = 6
        old.finish(("fc-1", 0, 1, 1))
        old.finish(("fc-1", 2, 3, 1))
        await settle()
        client = await stage.submit(1, total=3)
        assert client.outcomes() == {0: (0, b"0")}
        stage.send(client, 2, start=1, total=3)
        await settle()
        assert not old.leases
        old.finish(("fc-1", 1, 2, 1))
        await settle()
        assert client.ended
        assert client.outcomes() == {index: (0, b"%d" % index) for index in range(3)}

    play(scene)


def test_what_is_said_of_a_call_that_was_given_up_is_acknowledged() -> None:
    async def scene() -> None:
        stage = Stage()
        old = await outlived(stage)
        stage.wait(ORPHAN_GRACE_S + 1.0)
        await stage.submit(1)
        stage.calls.cancel(CallId("fc-1"))
        old.finish(old.leases[0])
        await settle()
        assert not stage.calls.workers[NAME].unrecorded

    play(scene)


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_container_of_before_takes_more_after_a_call_that_this_server_has_cancelled(
    interrupted: bool,
) -> None:
    async def scene() -> None:
        stage = Stage()
        old = await outlived(stage)
        await stage.submit(1)
        stage.calls.cancel(CallId("fc-1"))
        if interrupted:
            old.fail(old.leases[0], InputCancelled("the input was cancelled while it ran"))
        else:
            old.finish(old.leases[0])
        await settle()
        assert not stage.record.line.held(NAME)
        assert stage.calls.workers[NAME].state is ContainerState.IDLE
        again = await stage.submit(1)
        assert [lease[3] for lease in old.leases] == [1, 2]
        old.finish(old.leases[-1])
        await settle()
        assert again.outcomes() == {0: (0, b"0")}

    play(scene)


def test_an_input_by_itself_stays_as_it_was_said() -> None:
    said = OutcomeRun(Segment(CallId("fc-1"), 3, 4), [2], [int(OutcomeKind.FAILED)], b"{}", let_go=True)
    assert list(said.apart()) == [said]


def test_containers_of_a_machine_that_comes_later_have_time_of_their_own() -> None:
    async def scene() -> None:
        stage = Stage()
        other = replace(NODE, id=NodeId("no-2"))
        stage.nodes.join(NODE, ({"container": "co-first", "function": "ap-9/g", "pid": 7},))
        stage.wait(6.0)
        stage.nodes.join(other, ({"container": "co-later", "function": "ap-9/g", "pid": 7},))
        stage.wait(5.0)
        assert list(stage.events.orphans) == ["co-later"]
        stage.wait(6.0)
        assert not stage.events.orphans

    play(scene)
