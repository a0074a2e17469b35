"""Usage conformance: what every implementation of StateStore must do with what containers took, and with budgets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import isclose
from typing import Final

from squall.model.budget import Budget, Period, Scope, Unit
from squall.model.ids import CallId, ContainerId, FunctionId
from squall.model.usage import DAY_S, Bucket, Labels, Spend, Spends
from squall.state.records import BusyRecord, ContainerRecord
from squall.state.state_store import StateStore
from squall.state.usage_days import KEEP_S

Check = Callable[[StateStore], Awaitable[None]]

_LABELS: Final = Labels.of("main", "jobs", "Model.f@1a", {"team": "é", "a": "b"})
_RAN: Final = ContainerRecord(
    id=ContainerId("co-1"),
    function=FunctionId("ap-1/Model.f@1a"),
    started_s=DAY_S - 30.0,
    ended_s=DAY_S + 10.0,
    cpu_s=1.0,
    cpu_kept_s=4.0,
    memory_byte_s=8.0,
    memory_kept_byte_s=2.0,
    gpu_s=80.0,
    gpu_type="H100",
    labels=_LABELS,
)


async def a_container_counts_on_each_of_its_days(store: StateStore) -> None:
    store.history([_RAN])
    await store.flush()
    assert await store.containers() == (_RAN,)
    found = await store.spends(first_day=0, last_day=1)
    assert set(found) == {Bucket(0, _LABELS, "H100"), Bucket(1, _LABELS, "H100")}
    first, second = found[Bucket(0, _LABELS, "H100")], found[Bucket(1, _LABELS, "H100")]
    assert (first.containers, second.containers) == (0, 1)
    assert isclose(first.container_s, 30.0)
    assert isclose(second.container_s, 10.0)
    assert isclose(first.cpu_paid_s, 3.0)
    assert isclose(first.memory_paid_byte_s, 6.0)
    assert isclose(second.gpu_s, 20.0)
    assert list(await store.spends(first_day=1, last_day=5)) == [Bucket(1, _LABELS, "H100")]


async def a_container_that_is_recorded_again_counts_once(store: StateStore) -> None:
    store.history([replace(_RAN, ended_s=None)])
    await store.flush()
    assert sum_of(await store.spends(first_day=0, last_day=9)) == Spend()
    for _ in range(2):
        store.history([_RAN])
        await store.flush()
    store.history([replace(_RAN, ended_s=DAY_S + 20.0, cpu_s=9.0)])
    await store.flush()
    found = sum_of(await store.spends(first_day=0, last_day=9))
    assert (found.containers, round(found.container_s, 6), round(found.cpu_s, 6)) == (1, 50.0, 9.0)
    assert isclose(found.cpu_paid_s, 9.0)


async def what_calls_took_adds_up_to_what_their_containers_took(store: StateStore) -> None:
    other = replace(_RAN, id=ContainerId("co-2"), labels=Labels(), gpu_type="")
    rows = [
        BusyRecord(container=_RAN.id, call=CallId("fc-1"), since_s=0.0, at_s=9.0, busy_s=10.0),
        BusyRecord(container=_RAN.id, call=CallId("fc-1"), since_s=5.0, at_s=9.0, busy_s=10.0),
        BusyRecord(container=_RAN.id, call=CallId("fc-2"), since_s=0.0, at_s=9.0, busy_s=10.0),
        # Inputs ran side by side: together longer than the container lived.
        BusyRecord(container=other.id, call=CallId("fc-2"), since_s=0.0, at_s=9.0, busy_s=60.0),
        BusyRecord(container=other.id, call=CallId("fc-3"), since_s=0.0, at_s=9.0, busy_s=20.0),
        BusyRecord(container=ContainerId("co-9"), call=CallId("fc-3"), since_s=0.0, at_s=9.0, busy_s=20.0),
    ]
    store.history([_RAN, other, *rows])
    await store.flush()
    assert await store.busy_in([other.id, ContainerId("co-none")]) == tuple(rows[3:5])
    assert await store.busy_in([]) == ()
    found = await store.call_spends(since_s=0.0, until_s=2 * DAY_S)
    assert set(found) == {"", "fc-1", "fc-2", "fc-3"}
    shared = found["fc-1"][Bucket(0, _LABELS, "H100")]
    assert isclose(shared.container_s, 20.0)
    assert isclose(shared.gpu_s, 40.0)
    unknown = Labels(function="ap-1/Model.f@1a")
    assert isclose(found["fc-2"][Bucket(0, unknown)].container_s, 30.0)
    whole = sum_of(
        {
            Bucket(number, Labels(function=call)): sum_of(each)
            for number, (call, each) in enumerate(found.items())
        }
    )
    assert whole.containers == 2
    assert isclose(whole.container_s, 80.0)
    assert isclose(whole.gpu_s, 160.0)
    assert await store.call_spends(since_s=0.0, until_s=DAY_S) == {}


async def days_outlive_the_containers(store: StateStore) -> None:
    store.history([_RAN])
    await store.flush()
    await store.sweep(ended_before_s=10 * DAY_S)
    assert await store.containers() == ()
    assert len(await store.spends(first_day=0, last_day=1)) == 2
    await store.sweep(ended_before_s=DAY_S + KEEP_S)
    assert [bucket.day for bucket in await store.spends(first_day=0, last_day=1)] == [1]


async def a_budget_is_one_of_its_kind(store: StateStore) -> None:
    month = Budget(scope=Scope(app="jobs", tag="team=é"), amount=50.0, set_s=1.0)
    day = Budget(scope=Scope(app="jobs", tag="team=é"), period=Period.DAY, unit=Unit.GPU_SECONDS, amount=5.0)
    for one in (month, day, replace(month, amount=80.0, set_s=2.0)):
        await store.record_budget(one)
    assert await store.budgets() == (day, replace(month, amount=80.0, set_s=2.0))
    assert await store.drop_budget(month)
    assert not await store.drop_budget(month)
    assert await store.budgets() == (day,)


def sum_of(spends: Spends) -> Spend:
    """All of them together."""
    found = Spend()
    for spend in spends.values():
        found = found.plus(spend)
    return found


CHECKS: Final[tuple[Check, ...]] = (
    a_container_counts_on_each_of_its_days,
    a_container_that_is_recorded_again_counts_once,
    what_calls_took_adds_up_to_what_their_containers_took,
    days_outlive_the_containers,
    a_budget_is_one_of_its_kind,
)
