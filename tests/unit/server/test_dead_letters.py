"""Dead letters: what failed for good stays listed, runs again when it is asked for, and counts once."""

from __future__ import annotations

import time

import pytest

from squall.model.call import CallState, OutcomeKind
from squall.model.container import ContainerEnd
from squall.model.errors import ConflictError, FunctionNotFound, NotFoundError, OutputExpired
from squall.model.ids import CallId, make_id
from squall.scheduling.retry import MOST_LOSSES
from tests.unit.server.stage import FakeContainer, function, play, settle
from tests.unit.server.test_durable import CALL, FullState, House, house


async def failed(here: House, count: int = 3) -> FakeContainer:
    """A call of which the inputs 0 and 2 raised."""
    box = await here.stage.container()
    await here.spawn(count)
    for number in range(count):
        box.finish(box.leases[number], kind=0 if number % 2 else 1)
        await settle()
    return box


def test_what_failed_runs_again_with_its_id_its_arguments_and_its_next_attempt() -> None:
    async def scene() -> None:
        async with house() as here:
            box = await failed(here)
            assert [one.index for one in await here.store.dead_letters()] == [0, 2]
            assert await here.durable.replay(CALL, None) == (0, 2)
            await settle()
            assert box.leases[3:] == [("fc-1", 0, 1, 2)]
            assert box.given[-1][1] == b"0"
            waiting = await here.get(2)
            box.finish(box.leases[3])
            await settle()
            assert box.leases[4:] == [("fc-1", 2, 3, 2)]
            assert box.given[-1][1] == b"2"
            assert not waiting.frames
            box.finish(box.leases[4])
            await settle()
            assert waiting.outcomes() == {2: (0, b"2")}
            assert (await here.durable.info(CALL))["failed"] == 0
            assert await here.store.dead_letters() == ()
            assert not here.stage.calls.calls

    play(scene)


def test_only_those_that_are_asked_for_run_and_asking_twice_changes_nothing() -> None:
    async def scene() -> None:
        async with house() as here:
            box = await failed(here)
            assert await here.durable.replay(CALL, [2, 1, 99]) == (2,)
            assert await here.durable.replay(CALL, [2]) == (2,), "the answer was lost, and it is asked again"
            assert await here.durable.replay(CALL, None) == (2,)
            with pytest.raises(ConflictError, match="still runs"):
                await here.durable.replay(CALL, [0])
            await settle()
            assert len(box.leases) == 4
            box.finish(box.leases[3], kind=1)
            await settle()
            assert [(one.index, one.attempt) for one in await here.store.dead_letters()] == [(0, 1), (2, 2)]
            assert await here.durable.replay(CALL, [1]) == ()
            assert not here.stage.calls.calls

    play(scene)


def test_a_late_word_of_the_attempt_before_does_not_count() -> None:
    async def scene() -> None:
        async with house() as here:
            box = await here.stage.container()
            await here.spawn(1)
            for _ in range(MOST_LOSSES + 1):
                here.stage.containers.ended(box.id, ContainerEnd(cause="signal", signal=9))
                box = await here.stage.container()
                await settle()
            (dead,) = await here.store.dead_letters()
            assert (dead.attempt, dead.kind, dead.code) == (MOST_LOSSES + 1, OutcomeKind.FAILED, "SQ-1309")
            await here.durable.replay(CALL, None)
            await settle()
            (lease,) = box.leases
            assert lease == ("fc-1", 0, 1, MOST_LOSSES + 2)
            box.finish(("fc-1", 0, 1, MOST_LOSSES + 1))
            await settle()
            assert here.stage.record.line.fenced == 1
            assert (await here.durable.info(CALL))["state"] is CallState.OPEN
            box.finish(lease)
            await settle()
            assert (await here.get()).outcomes() == {0: (0, b"0")}

    play(scene)


@pytest.mark.parametrize("loaded", [True, False])
def test_a_server_that_dies_after_the_record_goes_on_with_the_replay(loaded: bool) -> None:
    async def scene() -> None:
        store = FullState()
        async with house(store) as before:
            await failed(before)
            if loaded:
                await before.durable.replay(CALL, [2])
            else:
                await store.replay(CALL, indexes=[2])
        async with house(store) as here:
            await here.durable.resume(here.stage.record)
            box = await here.stage.container()
            assert box.leases == [("fc-1", 2, 3, 2)]
            box.finish(box.leases[0])
            await settle()
            assert (await here.durable.info(CALL))["state"] is CallState.ENDED
            assert [one.index for one in await store.dead_letters()] == [0]

    play(scene)


def test_a_container_of_before_does_not_answer_for_the_attempt_after() -> None:
    async def scene() -> None:
        store = FullState()
        async with house(store) as before:
            await failed(before)
            await before.durable.replay(CALL, [2])
        async with house(store) as here:
            await here.durable.resume(here.stage.record)
            box = await here.stage.container()
            here.stage.calls.workers[box.id].outlived = True
            box.finish(("fc-1", 2, 3, 1))
            await settle()
            assert (await here.durable.info(CALL))["state"] is CallState.OPEN

    play(scene)


def test_what_cannot_be_replayed_says_why() -> None:
    async def scene() -> None:
        async with house() as here:
            with pytest.raises(NotFoundError):
                await here.durable.replay(CALL, None)
            await failed(here)
            here.stage.calls.functions.clear()
            with pytest.raises(FunctionNotFound, match="does not run any more"):
                await here.durable.replay(CALL, None)
            await here.durable.cancel(CALL)
            assert [one.index for one in await here.store.dead_letters()] == [0, 2]

    play(scene)


def test_a_cancelled_call_has_no_replay() -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn(2)
            await here.durable.cancel(CALL)
            with pytest.raises(ConflictError, match="was cancelled"):
                await here.durable.replay(CALL, None)

    play(scene)


def test_a_result_that_is_gone_says_so_with_the_option() -> None:
    async def scene() -> None:
        async with house() as here:
            here.durable.keep_s = 3 * 86_400.0
            old = make_id("fc", now_ms=int(1000 * (time.time() - 4 * 86_400)), randomness=b"0123456789")
            new = make_id("fc", now_ms=int(1000 * time.time()), randomness=b"0123456789")
            with pytest.raises(OutputExpired, match=r"3 days.*result_keep_s"):
                await here.durable.info(CallId(old))
            for name in (new, "fc-nonsense"):
                with pytest.raises(NotFoundError):
                    await here.durable.info(CallId(name))

    play(scene)


def test_calls_go_with_the_call_whose_input_made_them_in_memory_and_on_record() -> None:
    async def scene() -> None:
        async with house() as here:
            other = here.stage.add(function("g"))
            box = await here.stage.container(other)
            await here.spawn(1)
            await here.spawn(1, name="fc-child", parent=f"{CALL}:0")
            await here.spawn(1, name="fc-grandchild", parent="fc-child:0", record=other)
            await here.spawn(1, name="fc-stranger")
            assert box.leases
            await here.durable.cancel(CALL)
            await settle()
            assert [head["why"] for head in box.heard("interrupt")] == ["cancel"]
            assert list(here.stage.calls.calls) == ["fc-stranger"]
            for name, state in (("fc-child", CallState.CANCELLED), ("fc-grandchild", CallState.CANCELLED)):
                assert (await here.durable.info(CallId(name)))["state"] is state
            assert (await here.durable.info(CallId("fc-stranger")))["state"] is CallState.OPEN

    play(scene)


def test_children_that_only_the_record_knows_go_too() -> None:
    async def scene() -> None:
        store = FullState()
        async with house(store) as before:
            await before.spawn(1)
            for number in range(3):
                await before.spawn(1, name=f"fc-c{number}", parent=f"{CALL}:0")
            await before.spawn(1, name="fc-deep", parent="fc-c1:0")
        async with house(store) as here:
            await here.durable.cancel(CALL)
            for name in ("fc-c0", "fc-c1", "fc-c2", "fc-deep"):
                assert (await here.durable.info(CallId(name)))["state"] is CallState.CANCELLED

    play(scene)


def test_an_error_that_is_none_is_a_dead_letter_all_the_same() -> None:
    async def scene() -> None:
        async with house() as here:
            box = await here.stage.container()
            await here.spawn(1)
            box.finish(box.leases[0], kind=2)
            await settle()
            (dead,) = await here.store.dead_letters()
            assert dead.code == "SQ-1000"

    play(scene)
