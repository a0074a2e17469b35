"""Secrets conformance: what every implementation of StateStore must do with sealed secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from squall.model.ids import AppId, SecretId
from squall.state.secret_records import Rewrapped, SecretRecord
from squall.state.state_store import StateStore

Check = Callable[[StateStore], Awaitable[None]]

_ONE: Final = SecretRecord(
    id=SecretId("sc-1"),
    environment="main",
    name="database",
    created_s=1.5,
    variables=("PASSWORD", "USER"),
    sealed=bytes(range(256)),
    wrapped=b"\x00wrapped\xff",
    master="m-1",
)
_OF_APP: Final = replace(
    _ONE, id=SecretId("sc-9"), name="", app=AppId("ap-1"), variables=("1",), uses=("main/database",)
)


def _version(number: int, **other: object) -> SecretRecord:
    return replace(_ONE, id=SecretId(f"sc-{number}-{other.get('name', '')}"), number=number, **other)  # type: ignore[arg-type]  # of the checks below


async def a_secret_is_kept_as_it_came(store: StateStore) -> None:
    assert await store.secrets() == ()
    assert await store.record_secret(_ONE, keep=3)
    assert await store.record_secret(_OF_APP, keep=3)
    assert await store.secrets() == (_OF_APP, _ONE)


async def a_version_sent_again_changes_nothing(store: StateStore) -> None:
    assert await store.record_secret(_ONE, keep=3)
    assert not await store.record_secret(replace(_ONE, sealed=b"other"), keep=3)
    assert await store.secrets() == (_ONE,)


async def a_number_is_given_once_and_numbers_rise(store: StateStore) -> None:
    assert await store.record_secret(_version(2), keep=3)
    for late in (1, 2):
        assert not await store.record_secret(replace(_version(late), id=SecretId(f"sc-late-{late}")), keep=3)
    assert [row.number for row in await store.secrets()] == [2]


async def the_last_versions_stay(store: StateStore) -> None:
    other = _version(1, name="other")
    assert await store.record_secret(other, keep=2)
    for number in range(1, 6):
        assert await store.record_secret(_version(number), keep=2)
    assert [(row.name, row.number) for row in await store.secrets()] == [
        ("database", 4),
        ("database", 5),
        ("other", 1),
    ]


async def a_secret_goes_with_all_its_versions(store: StateStore) -> None:
    elsewhere = _version(7, name="database", environment="dev")
    for one in (_version(1), _version(2), elsewhere, _OF_APP):
        assert await store.record_secret(one, keep=3)
    assert not await store.drop_secret("main", "nobody")
    assert not await store.drop_secret("main", "")
    assert await store.drop_secret("main", "database")
    assert not await store.drop_secret("main", "database")
    assert await store.secrets() == (elsewhere, _OF_APP)
    assert await store.record_secret(replace(_ONE, id=SecretId("sc-new")), keep=3)


async def what_came_with_apps_goes_with_them(store: StateStore) -> None:
    more = replace(_OF_APP, id=SecretId("sc-10"))
    other = replace(_OF_APP, id=SecretId("sc-11"), app=AppId("ap-2"))
    for one in (_ONE, _OF_APP, more, other):
        assert await store.record_secret(one, keep=1)
    assert await store.drop_app_secrets([AppId("ap-1"), AppId("ap-3"), AppId("")]) == 2
    assert await store.drop_app_secrets([]) == 0
    assert await store.secrets() == (other, _ONE)


async def keys_are_put_under_another_where_they_are_under_what_was_thought(store: StateStore) -> None:
    other = replace(_version(2), master="m-2")
    for one in (_ONE, other):
        assert await store.record_secret(one, keep=3)
    items = [Rewrapped(id=one.id, before="m-1", master="m-3", wrapped=b"new") for one in (_ONE, other)]
    assert await store.rewrap_secrets(items) == 1
    assert await store.rewrap_secrets(items) == 0
    assert await store.rewrap_secrets([]) == 0
    assert await store.secrets() == (replace(_ONE, wrapped=b"new", master="m-3"), other)


CHECKS: Final[tuple[Check, ...]] = (
    a_secret_is_kept_as_it_came,
    a_version_sent_again_changes_nothing,
    a_number_is_given_once_and_numbers_rise,
    the_last_versions_stay,
    a_secret_goes_with_all_its_versions,
    what_came_with_apps_goes_with_them,
    keys_are_put_under_another_where_they_are_under_what_was_thought,
)
"""Each takes a fresh, empty store, and raises AssertionError where the store is none of ours."""
