"""Durable calls: recorded before they are answered, gone on with, and kept when no disk takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.call import CallState, Verb
from squall.model.errors import (
    DiskFull,
    Error,
    InputCancelled,
    InvalidError,
    NotFoundError,
    TooManyInputs,
)
from squall.model.function import Retries
from squall.model.ids import CallId, FunctionId
from squall.server.acknowledging import ACK_S
from squall.server.durable import Durable
from squall.server.pending import PendingLimits
from squall.server.records import CallRecord
from squall.state import records
from squall.state.memory_state import MemoryState
from squall.state.records import OutcomeRecord
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.server.stage import Client, Stage, play, settle

CALL = CallId("fc-1")


class FullState(MemoryState):
    """A store whose disk is full for outcomes until the test says otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False

    async def record_outcomes(self, call: CallId, items: Sequence[OutcomeRecord]) -> tuple[int, ...]:
        if self.full:
            raise DiskFull("the disk is full")
        return await super().record_outcomes(call, items)


class SlowToLookState(FullState):
    """A store in which something happens right after the first look at a call, while its answer is on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def call(self, call: CallId) -> records.CallRecord | None:
        found = await super().call(call)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return found


@dataclass
class House:
    stage: Stage
    durable: Durable
    store: FullState

    async def spawn(
        self, count: int = 1, *, start: int = 0, total: int | None = None, name: str = CALL, **more: Any
    ) -> Client:
        """Asks for a durable call, as `.spawn` and `.spawn_map` do; raises what it is refused with.

        record: the function's, if it is another one. parent: the input that makes it.
        """
        client = await asked()
        record = more.pop("record", self.stage.record)
        call = CallRecord(CallId(name), record.function.id, Verb.SPAWN_MAP, **more)
        sizes = [1] * count
        payload = b"".join(b"%d" % (index % 10) for index in range(start, start + count))
        head = {"start": start, "d": sizes, "total": start + count if total is None else total}
        await self.durable.submit(call, client.stream, head, Frame(Kind.DATA, payload=payload))
        await settle()
        return client

    async def get(self, index: int = 0, *, wait: bool = True) -> Client:
        client = await asked()
        await self.durable.answer(client.stream, CALL, index, wait=wait)
        await settle()
        return client


async def asked() -> Client:
    """A client's question: its stream as the server has it, and what it is answered."""
    left, right = pair()
    found: list[Stream] = []
    Session(right, dialer=False, on_open=lambda stream, _head, _frame: found.append(stream))
    record = CallRecord(CALL, Stage().record.function.id, Verb.SPAWN)
    client = Client(Session(left, dialer=True).open("x", on_frame=lambda frame: client.take(frame)), record)
    await settle()
    client.stream = found[0]
    return client


@asynccontextmanager
async def house(store: FullState | None = None, **fields: Any) -> AsyncIterator[House]:
    stage = Stage(**fields)
    state = store or FullState()
    durable = Durable(state, MemoryBlobs(), stage.calls)
    dropped: set[asyncio.Task[None]] = set()

    def drop(call: CallId) -> None:
        task = asyncio.ensure_future(durable.cancel(call))
        dropped.add(task)
        task.add_done_callback(dropped.discard)

    def drop_all(function: FunctionId) -> None:
        task = asyncio.ensure_future(durable.drop_function(function))
        dropped.add(task)
        task.add_done_callback(dropped.discard)

    stage.calls.on_dropped = drop
    stage.calls.on_stopped = lambda function: drop_all(function)
    tasks = [asyncio.create_task(work) for work in (durable.write_outcomes(), durable.page())]
    try:
        yield House(stage, durable, state)
    finally:
        for task in tasks:
            task.cancel()


def test_a_durable_call_is_on_record_when_it_is_answered_and_runs() -> None:
    async def scene() -> None:
        async with house() as here:
            box = await here.stage.container()
            client = await here.spawn(2)
            assert client.frames[0][1] == {"call": CALL}
            assert (await here.store.inputs(CALL, start=0, stop=2))[0].each() == [b"0", b"1"]
            for number in range(2):
                box.finish(box.leases[number])
                await settle()
            assert [one.payload for one in await here.store.outcomes(CALL, start=0, stop=2)] == [b"0", b"1"]
            assert (await here.get(1)).outcomes() == {1: (0, b"1")}
            assert (await here.durable.info(CALL))["state"] is CallState.ENDED

    play(scene)


def test_who_waits_is_told_when_it_is_on_disk() -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn()
            early, look = await here.get(), await here.get(wait=False)
            assert not early.frames
            assert look.frames[0][1] == {}
            box = await here.stage.container()
            box.finish(box.leases[0])
            await settle()
            assert early.outcomes() == {0: (0, b"0")}

    play(scene)


@pytest.mark.parametrize("when", ["before", "meanwhile", "after"])
def test_a_call_sent_again_runs_once(when: str) -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn(2)
            if when == "before":
                await here.spawn(2)
            box = await here.stage.container()
            if when == "meanwhile":
                await here.spawn(2)
            for number in range(2):
                box.finish(box.leases[number])
                await settle()
            if when == "after":
                await here.spawn(2)
            await settle()
            assert len(box.leases) == 2
            assert not here.stage.calls.calls

    play(scene)


def test_after_a_restart_only_inputs_without_an_outcome_run() -> None:
    async def scene() -> None:
        store = FullState()
        async with house(store) as before:
            await before.spawn(4, total=6)
            box = await before.stage.container()
            box.finish(("fc-1", 0, 1, 1))
            await settle()
        async with house(store) as here:
            await here.durable.resume(here.stage.record)
            box = await here.stage.container()
            await here.spawn(2, start=4, total=6)
            for number in range(5):
                box.finish(box.leases[number])
                await settle()
            assert [start for _, start, _, _ in box.leases] == [1, 2, 3, 4, 5]
            assert (await here.durable.info(CALL))["state"] is CallState.ENDED

    play(scene)


def test_outcomes_that_no_disk_takes_are_kept_said_and_written_later() -> None:
    async def scene() -> None:
        async with house() as here:
            box = await here.stage.container()
            await here.spawn()
            waiting = await here.get()
            here.store.full = True
            box.finish(box.leases[0])
            await settle()
            assert here.durable.trouble == "the disk is full"
            assert here.durable.unrecorded == 1
            assert "the disk is full" in str(here.durable.why_busy())
            here.stage.wait(ACK_S)
            await settle()
            assert [head["a"] for head in box.heard("ack")] in ([], [1]), "the container must keep it too"
            here.store.full = False
            async with asyncio.timeout(5):
                while not waiting.frames:
                    await asyncio.sleep(0.01)
            assert waiting.outcomes() == {0: (0, b"0")}
            assert not here.durable.trouble
            assert not here.durable.why_busy()
            here.stage.wait(ACK_S)
            await settle()
            assert box.heard("ack")[-1]["a"] == 2

    play(scene)


def test_the_attempt_that_ended_an_input_is_on_record() -> None:
    async def scene() -> None:
        async with house(retries=Retries(max_retries=1, initial_delay=0.0)) as here:
            box = await here.stage.container()
            await here.spawn()
            box.finish(box.leases[0], kind=1)
            await settle()
            here.stage.wait(0.1)
            await settle()
            box.finish(box.leases[1])
            await settle()
            assert [one.attempt for one in await here.store.outcomes(CALL, start=0, stop=1)] == [2]

    play(scene)


def test_what_is_too_much_is_refused_before_it_is_on_record() -> None:
    async def scene() -> None:
        async with house(limits=PendingLimits(inputs=2)) as here:
            await here.spawn(1, name="fc-0")
            with pytest.raises(TooManyInputs) as refused:
                await here.spawn(3)
            assert refused.value.retry_after_s is not None
            assert await here.store.call(CALL) is None

    play(scene)


def test_a_cancelled_call_tells_who_waits_and_stays_cancelled() -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn()
            waiting = await here.get()
            await here.durable.cancel(CALL)
            await settle()
            assert "was cancelled" in waiting.error["message"]
            with pytest.raises(Error, match="was cancelled"):
                await here.get()
            await here.durable.resume(here.stage.record)
            assert not here.stage.calls.calls

    play(scene)


def test_who_asks_while_the_call_is_being_cancelled_is_told_so() -> None:
    async def scene() -> None:
        store = SlowToLookState()
        async with house(store) as here:
            await here.spawn()
            store.meanwhile = lambda: here.durable.cancel(CALL)
            with pytest.raises(InputCancelled):
                await here.get()

    play(scene)


def test_who_asks_for_what_is_not_there_is_told() -> None:
    async def scene() -> None:
        async with house() as here:
            with pytest.raises(NotFoundError):
                await here.get()
            await here.spawn()
            with pytest.raises(InvalidError):
                await here.get(7)

    play(scene)


def test_who_stops_waiting_is_forgotten() -> None:
    async def scene() -> None:
        async with house() as here:
            await here.spawn()
            waiting = await here.get()
            waiting.stream.on_frame(Frame(Kind.CANCEL, waiting.stream.id))
            assert not here.durable._waiters

    play(scene)
