"""The ledger: what containers took of their machines, however they ended, and for which calls."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.call import CallState
from squall.model.container import ContainerEnd
from squall.model.gpu import Gpus
from squall.model.ids import CallId, ContainerId
from squall.model.resources import Resources
from squall.server.durable import Durable
from squall.server.ledger import Ledger
from squall.state.memory_state import MemoryState
from squall.state.records import ContainerRecord
from tests.unit.server.stage import NODE, Stage, play, settle

GIB = 2**30


@dataclass
class Scene:
    stage: Stage
    store: MemoryState

    async def only_container(self) -> ContainerRecord:
        (record,) = await self.store.containers()
        return record


@asynccontextmanager
async def scene(**fields: Any) -> AsyncIterator[Scene]:
    stage, store = Stage(**fields), MemoryState()
    ledger = Ledger(store, Durable(store, MemoryBlobs(), stage.calls), clock=stage.clock)
    stage.containers.lifted = ledger.container_over
    stage.calls.on_over = ledger.call_over
    yield Scene(stage, store)


def test_a_container_took_what_was_kept_for_it_as_long_as_it_was_there() -> None:
    async def play_it() -> None:
        async with scene(asks=Resources(cpu_milli=500, memory_mib=2048)) as here:
            box = await here.stage.container()
            here.stage.calls.workers[box.id].gpus = Gpus(type="H100", count=2)
            here.stage.wait(8.0)
            end = ContainerEnd(
                cause="exit", code=0, cpu_s=1.25, memory_peak_bytes=GIB, memory_byte_s=3.0 * GIB
            )
            here.stage.containers.ended(box.id, end)
            record = await here.only_container()
            assert record.ended_s is not None
            assert record.ended_s - record.started_s == pytest.approx(8.0)
            assert abs(record.ended_s - time.time()) < 60
            assert (record.cpu_s, record.memory_byte_s, record.peak_memory_bytes) == (1.25, 3.0 * GIB, GIB)
            assert record.cpu_kept_s == pytest.approx(4.0)
            assert record.memory_kept_byte_s == pytest.approx(16.0 * GIB)
            assert record.gpu_s == pytest.approx(16.0)
            assert record.gpu_type == "H100"

    play(play_it)


def test_of_one_that_was_lost_counts_what_was_heard_last() -> None:
    async def play_it() -> None:
        async with scene(asks=Resources(cpu_milli=1000, memory_mib=1024)) as here:
            box = await here.stage.container()
            here.stage.wait(5.0)
            usage = {"event": "usage", "L": [[box.id, 2.5, 4.0 * GIB], ["co-unknown", 1.0, 1.0]]}
            here.stage.events.take(NODE.id, usage)
            here.stage.wait(30.0)
            here.stage.containers.ended(box.id, ContainerEnd(cause="signal", signal=9))
            record = await here.only_container()
            assert record.ended_s is not None
            assert record.ended_s - record.started_s == pytest.approx(5.0)
            assert (record.cpu_s, record.memory_byte_s) == (2.5, 4.0 * GIB)
            assert record.cpu_kept_s == pytest.approx(5.0)

    play(play_it)


def test_an_agent_that_comes_after_another_sums_anew_and_nothing_is_lost() -> None:
    async def play_it() -> None:
        async with scene() as here:
            box = await here.stage.container()
            for cpu_s, byte_s in ((1.0, 10.0), (2.0, 20.0), (2.5, 1.0), (3.0, 5.0)):
                here.stage.events.take(NODE.id, {"event": "usage", "L": [[box.id, cpu_s, byte_s]]})
            end = ContainerEnd(cause="exit", code=0, cpu_s=3.5, memory_byte_s=6.0)
            here.stage.containers.ended(box.id, end)
            record = await here.only_container()
            assert (record.cpu_s, record.memory_byte_s) == (3.5, 26.0)

    play(play_it)


def test_one_that_outlived_a_server_has_lived_before_too() -> None:
    async def play_it() -> None:
        async with scene(asks=Resources(cpu_milli=1000)) as here:
            row = {"container": "co-a", "function": here.stage.record.function.id, "pid": 7, "lived_s": 100.0}
            here.stage.nodes.join(NODE, (row,))
            here.stage.wait(10.0)
            here.stage.containers.ended(ContainerId("co-a"), ContainerEnd(cause="exit", code=0, cpu_s=1.0))
            assert (await here.only_container()).cpu_kept_s == pytest.approx(110.0)

    play(play_it)


def test_a_call_has_the_seconds_of_each_container_that_ran_its_inputs() -> None:
    async def play_it() -> None:
        async with scene() as here:
            first, second = await here.stage.container(), await here.stage.container()
            client = await here.stage.submit(4)
            for box, seconds in ((first, 0.5), (second, 2.0), (first, 0.25)):
                box.finish(box.leases[-1], seconds=seconds)
                await settle()
            # The last one is lost after 3 seconds, and runs again.
            here.stage.wait(3.0)
            holder = next(box for box in (first, second) if here.stage.record.line.held(box.id))
            other = second if holder is first else first
            here.stage.containers.ended(holder.id, ContainerEnd(cause="signal", signal=9))
            await settle()
            other.finish(other.leases[-1], kind=1, seconds=1.0)
            await settle()
            assert client.ended
            busy = {row.container: row.busy_s for row in await here.store.busy(CallId("fc-1"))}
            expected = {first.id: 0.75, second.id: 2.0}
            expected[holder.id] += 3.0
            expected[other.id] += 1.0
            assert busy == pytest.approx(expected)
            call = await here.store.call(CallId("fc-1"))
            assert call is not None
            assert (call.inputs, call.done, call.failed, call.state) == (4, 4, 1, CallState.ENDED)

    play(play_it)


def test_a_cancelled_call_is_in_the_history_as_that() -> None:
    async def play_it() -> None:
        async with scene() as here:
            await here.stage.submit(4)
            here.stage.calls.cancel(CallId("fc-1"))
            call = await here.store.call(CallId("fc-1"))
            assert call is not None
            assert (call.done, call.state) == (0, CallState.CANCELLED)
            assert call.ended_s is not None

    play(play_it)


def test_the_containers_of_an_app_that_was_stopped_count_too() -> None:
    async def play_it() -> None:
        async with scene() as here:
            box = await here.stage.container()
            here.stage.calls.stop_function(here.stage.record.function.id)
            here.stage.wait(2.0)
            here.stage.containers.ended(box.id, ContainerEnd(cause="killed", cpu_s=0.1))
            assert (await here.only_container()).cpu_kept_s == pytest.approx(
                here.stage.record.function.asks.cpu_milli / 1000 * 2
            )

    play(play_it)
