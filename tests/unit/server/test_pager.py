"""The pager: inputs on record come into the line a little at a time, each once, in turns, and also after a restart."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from squall.model.call import CallState
from squall.model.ids import CallId
from squall.server.pager import HIGH
from tests.unit.server.stage import FakeContainer, play, settle
from tests.unit.server.test_durable import FullState, House, house

MANY = 3 * HIGH


async def work(here: House, box: FakeContainer, *, seconds: float = 1e-6, most: int = 1_000_000) -> list[str]:
    """The container works until nothing waits any more; whose inputs it was given, in order."""
    turns: list[str] = []
    at, quiet = 0, 0
    while quiet < 5 and len(turns) < most:
        leases = box.leases[at:]
        for call, start, stop, attempt in leases:
            turns += [call] * (stop - start)
            box.finish((call, start, stop, attempt), seconds=seconds * (stop - start))
        at += len(leases)
        quiet = 0 if leases else quiet + 1
        await settle()
        await asyncio.sleep(0)
    return turns


async def ended(here: House, *names: str) -> None:
    for name in names:
        info = await here.durable.info(CallId(name))
        assert info["state"] is CallState.ENDED, info
        count = info["inputs"]
        kept = await here.store.outcomes(CallId(name), start=0, stop=count)
        assert [one.payload for one in kept] == [b"%d" % index for index in range(count)]


def test_what_is_spawned_is_in_line_up_to_a_bound_and_all_of_it_runs_once() -> None:
    async def scene() -> None:
        async with house() as here:
            for start in range(0, MANY, 512):
                await here.spawn(512, start=start, total=MANY)
            assert here.stage.record.line.waiting <= HIGH
            assert here.stage.record.pending == MANY
            assert here.stage.calls.calls[CallId("fc-1")].blocks.bytes <= HIGH
            assert here.durable.waiting == 1
            box = await here.stage.container()
            turns = await work(here, box)
            assert len(turns) == MANY
            assert here.stage.record.pending == 0
            assert not here.stage.calls.calls
            assert here.durable.waiting == 0
            assert here.durable.why_busy() is None
            await ended(here, "fc-1")

    play(scene)


def test_many_calls_of_one_input_wait_on_record_too() -> None:
    async def scene() -> None:
        async with house() as here:
            names = [f"fc-{number:05}" for number in range(HIGH + 300)]
            for name in names:
                await here.spawn(1, name=name)
            assert len(here.stage.calls.calls) == HIGH
            assert here.durable.waiting == 300
            box = await here.stage.container()
            assert Counter(await work(here, box)) == Counter(names)
            assert here.stage.record.pending == 0

    play(scene)


def test_a_small_call_takes_its_turn_beside_a_giant_one() -> None:
    async def scene() -> None:
        async with house() as here:
            for start in range(0, MANY, 1024):
                await here.spawn(1024, start=start, total=MANY, name="fc-giant")
            await here.spawn(10, name="fc-small")
            assert here.durable.waiting == 2
            box = await here.stage.container()
            turns = await work(here, box)
            assert turns.count("fc-small") == 10
            assert max(at for at, name in enumerate(turns) if name == "fc-small") < 2 * HIGH
            await ended(here, "fc-giant", "fc-small")

    play(scene)


def test_a_client_that_sends_again_what_waits_on_record_changes_nothing() -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn(HIGH, name="fc-first")
            for _ in range(2):
                await here.spawn(400, total=1000)
                await here.spawn(600, start=200, total=1000)
                await here.spawn(200, start=800, total=1000)
            assert here.stage.record.pending == HIGH + 1000
            box = await here.stage.container()
            assert Counter(await work(here, box)) == {"fc-first": HIGH, "fc-1": 1000}
            await ended(here, "fc-1")

    play(scene)


def test_a_call_whose_number_of_inputs_comes_last_ends() -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn(HIGH, name="fc-first")
            await here.spawn(100, total=200)
            box = await here.stage.container()
            await work(here, box)
            assert (await here.durable.info(CallId("fc-1")))["done"] == 100
            await here.spawn(100, start=100, total=200)
            await work(here, box)
            await ended(here, "fc-1")

    play(scene)


@pytest.mark.parametrize("half", [True, False])
def test_after_a_restart_the_rest_comes_in_turn(half: bool) -> None:
    async def scene() -> None:
        store = FullState()
        async with house(store) as before:
            await before.spawn(MANY)
            for number in range(50):
                await before.spawn(1, name=f"fc-s{number}")
            if half:
                box = await before.stage.container()
                await work(before, box, most=MANY // 2)
        async with house(store) as here:
            await here.durable.resume(here.stage.record)
            await settle()
            assert here.stage.record.line.waiting <= HIGH + 1024
            box = await here.stage.container()
            turns = await work(here, box)
            assert half or len(turns) == MANY + 50
            await ended(here, "fc-1", *(f"fc-s{number}" for number in range(50)))

    play(scene)


def test_a_call_that_is_cancelled_while_it_waits_on_record_does_not_run() -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn(HIGH, name="fc-first")
            await here.spawn(500)
            waiting = await here.get(7)
            await here.durable.cancel(CallId("fc-1"))
            await settle()
            assert "was cancelled" in waiting.error["message"]
            assert here.stage.record.pending == HIGH
            box = await here.stage.container()
            assert set(await work(here, box)) == {"fc-first"}

    play(scene)


def test_calls_on_record_end_with_their_app() -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn(HIGH, name="fc-first")
            for number in range(20):
                await here.spawn(1, name=f"fc-{number}")
            here.stage.calls.stop_function(here.stage.record.function.id)
            async with asyncio.timeout(5):
                while (await here.durable.info(CallId("fc-19")))["state"] is CallState.OPEN:
                    await asyncio.sleep(0)
            assert here.durable.waiting == 0
            assert (await here.durable.info(CallId("fc-first")))["state"] is CallState.CANCELLED

    play(scene)
