"""Deploy conformance: what every implementation of StateStore must do with versions of deployed apps and environments."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from squall.model.budget import Budget, Period, Scope, Unit
from squall.model.deploy import DeployedName, VersionState
from squall.model.ids import AppId, CallId, SharedId
from squall.model.shared import SharedKind
from squall.state.deploy_records import MOST_VERSIONS, EnvironmentRecord, VersionRecord
from squall.state.schedule_records import ScheduleKey, ScheduleRecord, TickRecord
from squall.state.sharing.records import SharedRecord
from squall.state.state_store import StateStore

Check = Callable[[StateStore], Awaitable[None]]

_FIRST: Final = VersionRecord(
    app=AppId("ap-1"),
    environment="main",
    name="jobs",
    created_s=1.0,
    tag="é",
    who="ada@here",
    functions=("f", "g"),
    content='{"functions": []}',
)


def _other(number: int, **changes: str) -> VersionRecord:
    return replace(_FIRST, app=AppId(f"ap-{number}"), created_s=float(number), **changes)  # type: ignore[arg-type]  # strings alone


async def versions_are_counted_for_each_app(store: StateStore) -> None:
    given = [_FIRST, _other(2), _other(3, name="other"), _other(4, environment="staging"), _other(5)]
    assert [await store.record_version(one) for one in given] == [1, 2, 1, 1, 3]
    assert await store.version(_FIRST.app) == replace(_FIRST, number=1)
    assert await store.version(AppId("ap-none")) is None
    listed = await store.versions(environment="main", name="jobs")
    assert listed == tuple(
        replace(one, number=number, content="")
        for one, number in ((given[4], 3), (given[1], 2), (given[0], 1))
    )
    assert [one.app for one in await store.versions()] == ["ap-5", "ap-2", "ap-1", "ap-3", "ap-4"]
    assert len(await store.version_contents()) == 5


async def a_version_sent_again_keeps_its_number(store: StateStore) -> None:
    assert await store.record_version(_FIRST) == 1
    assert await store.record_version(_other(2)) == 2
    await store.set_version(_FIRST.app, VersionState.FAILED, at_s=3.0, why="broken")
    assert await store.record_version(_FIRST) == 1
    known = await store.version(_FIRST.app)
    assert known == replace(_FIRST, number=1, state=VersionState.FAILED, ended_s=3.0, why="broken")


async def one_version_of_an_app_serves(store: StateStore) -> None:
    for one in (_FIRST, _other(2), _other(3, name="other")):
        await store.record_version(one)
        assert await store.switch_version(one.app)
        assert await store.switch_version(one.app)
    states = {one.app: one.state for one in await store.versions()}
    assert states == {"ap-1": "draining", "ap-2": "serving", "ap-3": "serving"}
    assert not await store.switch_version(AppId("ap-1"))
    assert not await store.switch_version(AppId("ap-none"))


async def what_is_over_stays_as_it_ended(store: StateStore) -> None:
    await store.record_version(_FIRST)
    assert await store.set_version(_FIRST.app, VersionState.STOPPED, at_s=9.0)
    assert not await store.set_version(_FIRST.app, VersionState.FAILED, at_s=10.0, why="late")
    assert not await store.switch_version(_FIRST.app)
    assert not await store.set_version(AppId("ap-none"), VersionState.STOPPED, at_s=9.0)
    (known,) = await store.versions()
    assert (known.state, known.ended_s, known.why) == ("stopped", 9.0, "")


async def what_a_version_is_made_of_can_be_added_to(store: StateStore) -> None:
    await store.record_version(_FIRST)
    await store.set_version_content(_FIRST.app, '{"more": "é"}')
    await store.set_version_content(AppId("ap-none"), "{}")
    assert await store.version(_FIRST.app) == replace(_FIRST, number=1, content='{"more": "é"}')
    assert await store.version_contents() == ('{"more": "é"}',)


async def only_the_last_versions_are_kept(store: StateStore) -> None:
    await store.record_version(_FIRST)
    await store.switch_version(_FIRST.app)
    for number in range(2, MOST_VERSIONS + 6):
        await store.record_version(_other(number))
        await store.set_version(AppId(f"ap-{number}"), VersionState.FAILED, at_s=1.0)
    kept = [one.number for one in await store.versions()]
    assert kept == [*reversed(range(6, MOST_VERSIONS + 6)), 1]


async def versions_recorded_at_once_each_have_a_number(store: StateStore) -> None:
    numbers = await asyncio.gather(*(store.record_version(_other(number)) for number in range(1, 31)))
    assert sorted(numbers) == list(range(1, 31))


async def an_environment_with_another_name_has_what_it_had(store: StateStore) -> None:
    for name in ("staging", "dev"):
        await store.record_environment(EnvironmentRecord(name=name, created_s=1.0))
    await store.record_version(_other(1, environment="staging"))
    kept = SharedRecord(
        id=SharedId("di-1"), kind=SharedKind.DICT, name="kept", environment="staging", created_s=1.0
    )
    await store.open_shared(kept, most=10)
    budget = Budget(
        scope=Scope(environment="staging"), period=Period.DAY, unit=Unit.SECONDS, amount=5.0, set_s=1.0
    )
    await store.record_budget(budget)
    of_before = replace(budget, scope=Scope(environment="test"), amount=7.0)
    await store.record_budget(of_before)
    key = ScheduleKey(DeployedName("staging", "app"), "nightly")
    schedule = ScheduleRecord(key=key, rule="{}", salt="s", anchor_s=1.0, seen_s=1.0)
    await store.record_schedule(schedule)
    await store.record_ticks(schedule, [TickRecord(key=key, at_s=2.0, call=CallId("fc-1"), taken_s=2.0)])
    assert not await store.rename_environment("staging", "dev")
    assert not await store.rename_environment("none", "more")
    assert await store.rename_environment("staging", "test")
    assert [one.name for one in await store.environments()] == ["dev", "test"]
    assert [one.environment for one in await store.versions()] == ["test"]
    assert await store.shared(SharedKind.DICT, "staging", "kept") is None
    assert await store.shared(SharedKind.DICT, "test", "kept") == replace(kept, environment="test")
    assert await store.budgets() == (replace(budget, scope=Scope(environment="test")),)
    moved = replace(key, deployed=DeployedName("test", "app"))
    assert [one.key for one in await store.schedules()] == [moved]
    assert [(one.key, one.at_s) for one in await store.ticks()] == [(moved, 2.0)]


async def an_environment_in_which_something_is_kept_stays(store: StateStore) -> None:
    await store.record_environment(EnvironmentRecord(name="staging", created_s=1.0))
    kept = SharedRecord(
        id=SharedId("di-1"), kind=SharedKind.DICT, name="kept", environment="staging", created_s=1.0
    )
    await store.open_shared(kept, most=10)
    assert not await store.drop_environment("staging")
    await store.drop_shared(kept.id)
    assert await store.drop_environment("staging")


async def environments_come_and_go(store: StateStore) -> None:
    staging, dev = (
        EnvironmentRecord(name="staging", created_s=1.0),
        EnvironmentRecord(name="dev", created_s=2.0),
    )
    assert [await store.record_environment(one) for one in (staging, dev, replace(dev, created_s=3.0))] == [
        True,
        True,
        False,
    ]
    assert await store.environments() == (dev, staging)
    there = _other(1, environment="dev")
    await store.record_version(there)
    assert not await store.drop_environment("dev")
    await store.set_version(there.app, VersionState.STOPPED, at_s=4.0)
    assert await store.drop_environment("dev")
    assert not await store.drop_environment("dev")
    assert await store.environments() == (staging,)
    assert await store.versions() == ()


CHECKS: Final[tuple[Check, ...]] = (
    versions_are_counted_for_each_app,
    a_version_sent_again_keeps_its_number,
    one_version_of_an_app_serves,
    what_is_over_stays_as_it_ended,
    what_a_version_is_made_of_can_be_added_to,
    only_the_last_versions_are_kept,
    versions_recorded_at_once_each_have_a_number,
    an_environment_with_another_name_has_what_it_had,
    an_environment_in_which_something_is_kept_stays,
    environments_come_and_go,
)
"""Each takes a fresh, empty store, and raises AssertionError where the store is none of ours."""
