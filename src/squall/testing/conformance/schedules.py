"""Schedule conformance: what every implementation of StateStore must do with schedules and their ticks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from squall.model.deploy import DeployedName
from squall.model.ids import CallId
from squall.state.schedule_records import MOST_TICKS, ScheduleKey, ScheduleRecord, TickRecord, TickState
from squall.state.state_store import StateStore

Check = Callable[[StateStore], Awaitable[None]]

_KEY: Final = ScheduleKey(DeployedName("main", "jobs"), "nightly")
_OTHER: Final = ScheduleKey(DeployedName("staging", "jobs"), "nightly")
_RULE: Final = ScheduleRecord(
    key=_KEY, rule='{"cron": {"expression": "* * * * *"}}', salt="00", anchor_s=10.125, seen_s=10.125
)


def _tick(at_s: float, key: ScheduleKey = _KEY, *, call: str = "fc-1") -> TickRecord:
    return TickRecord(key=key, at_s=at_s, call=CallId(call), taken_s=at_s + 0.5)


async def a_schedule_is_kept_until_it_is_dropped(store: StateStore) -> None:
    other = replace(_RULE, key=_OTHER, salt="11")
    assert await store.schedules() == ()
    await store.record_schedule(other)
    await store.record_schedule(_RULE)
    assert await store.schedules() == (_RULE, other)
    changed = replace(_RULE, rule="{}", anchor_s=20.0, seen_s=21.0, missed=3, missed_s=19.0)
    await store.record_schedule(changed)
    await store.record_schedule(changed)
    assert await store.schedules() == (changed, other)
    assert await store.drop_schedule(_KEY)
    assert not await store.drop_schedule(_KEY)
    assert await store.schedules() == (other,)


async def an_instant_is_taken_once(store: StateStore) -> None:
    await store.record_schedule(_RULE)
    first = replace(_RULE, seen_s=61.0, missed=2, missed_s=50.0)
    assert await store.record_ticks(first, [_tick(60.0)]) == (60.0,)
    assert await store.record_ticks(first, [_tick(60.0, call="fc-2")]) == ()
    second = replace(first, seen_s=121.0)
    assert await store.record_ticks(second, [_tick(60.0, call="fc-2"), _tick(120.0)]) == (120.0,)
    assert await store.ticks(_KEY) == (_tick(120.0), _tick(60.0))
    assert await store.schedules() == (second,)


async def an_instant_of_one_schedule_is_none_of_another(store: StateStore) -> None:
    await store.record_schedule(_RULE)
    await store.record_schedule(replace(_RULE, key=_OTHER))
    assert await store.record_ticks(_RULE, [_tick(60.0)]) == (60.0,)
    assert await store.record_ticks(replace(_RULE, key=_OTHER), [_tick(60.0, _OTHER)]) == (60.0,)
    assert await store.ticks(_OTHER) == (_tick(60.0, _OTHER),)
    assert await store.ticks() == (_tick(60.0), _tick(60.0, _OTHER))


async def ticks_outlive_their_schedule(store: StateStore) -> None:
    await store.record_schedule(_RULE)
    await store.record_ticks(_RULE, [_tick(60.0)])
    await store.drop_schedule(_KEY)
    await store.record_schedule(replace(_RULE, seen_s=0.0))
    assert await store.record_ticks(_RULE, [_tick(60.0)]) == ()


async def what_became_of_a_tick_is_kept(store: StateStore) -> None:
    await store.record_schedule(_RULE)
    await store.record_ticks(_RULE, [_tick(60.0), _tick(120.0)])
    skipped = replace(_tick(60.0), state=TickState.SKIPPED, why="fc-0 still runs: é")
    await store.set_tick(skipped)
    await store.set_tick(skipped)
    await store.set_tick(replace(_tick(180.0), state=TickState.CALLED))
    assert await store.ticks(_KEY) == (_tick(120.0), skipped)


async def old_ticks_make_the_floor(store: StateStore) -> None:
    await store.record_schedule(_RULE)
    for number in range(1, MOST_TICKS + 4):
        await store.record_ticks(_RULE, [_tick(60.0 * number)])
        await store.set_tick(replace(_tick(60.0 * number), state=TickState.CALLED))
    # What has just been taken is not yet called when the oldest go.
    (known,) = await store.schedules()
    assert known.floor_s == 180.0
    kept = await store.ticks(_KEY)
    assert [one.at_s for one in kept] == [60.0 * number for number in range(MOST_TICKS + 3, 3, -1)]


async def a_tick_that_is_to_be_called_is_never_forgotten(store: StateStore) -> None:
    await store.record_schedule(_RULE)
    await store.record_ticks(_RULE, [_tick(1.0)])
    for number in range(1, MOST_TICKS + 2):
        await store.record_ticks(_RULE, [_tick(60.0 * number)])
        await store.set_tick(replace(_tick(60.0 * number), state=TickState.CALLED))
    kept = await store.ticks(_KEY)
    assert kept[-1] == _tick(1.0)
    assert (await store.schedules())[0].floor_s == 60.0


async def the_floor_never_sinks(store: StateStore) -> None:
    await store.record_schedule(replace(_RULE, floor_s=500.0))
    await store.record_ticks(_RULE, [_tick(60.0)])
    assert (await store.schedules())[0].floor_s == 500.0


async def of_many_that_take_an_instant_one_does(store: StateStore) -> None:
    await store.record_schedule(_RULE)
    told = await asyncio.gather(
        *(store.record_ticks(_RULE, [_tick(60.0, call=f"fc-{n}")]) for n in range(10))
    )
    assert sorted(told) == [(), (), (), (), (), (), (), (), (), (60.0,)]


CHECKS: Final[tuple[Check, ...]] = (
    a_schedule_is_kept_until_it_is_dropped,
    an_instant_is_taken_once,
    an_instant_of_one_schedule_is_none_of_another,
    ticks_outlive_their_schedule,
    what_became_of_a_tick_is_kept,
    old_ticks_make_the_floor,
    a_tick_that_is_to_be_called_is_never_forgotten,
    the_floor_never_sinks,
    of_many_that_take_an_instant_one_does,
)
