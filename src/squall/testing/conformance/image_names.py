"""Image name conformance: what every implementation of StateStore must do with the names of images."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from squall.model.ids import NamingId
from squall.state.records import MOST_NAMINGS, Naming, Swept
from squall.state.state_store import StateStore

Check = Callable[[StateStore], Awaitable[None]]

_KEYS: Final = ("a" * 64, "b" * 64)
_FIRST: Final = Naming(
    id=NamingId("na-1"), name="base:1", key=_KEYS[0], at_s=1.0, who="ada@here", what="é, apt"
)


async def a_name_means_what_it_was_given_last(store: StateStore) -> None:
    second = replace(_FIRST, id=NamingId("na-2"), key=_KEYS[1], at_s=2.0)
    other = replace(_FIRST, id=NamingId("na-3"), name="base:0", at_s=3.0, who="", what="")
    assert await store.image_names() == ()
    assert await store.namings("base:1") == ()
    assert [await store.record_naming(one) for one in (_FIRST, other, second)] == [True, True, True]
    assert await store.image_names() == (other, second)
    assert await store.namings("base:1") == (second, _FIRST)


async def a_naming_sent_again_changes_nothing(store: StateStore) -> None:
    second = replace(_FIRST, id=NamingId("na-2"), key=_KEYS[1], at_s=2.0)
    for one in (_FIRST, second):
        await store.record_naming(one)
    assert not await store.record_naming(_FIRST)
    assert not await store.record_naming(replace(_FIRST, name="other:1"))
    assert not await store.record_naming(replace(second, id=NamingId("na-3"), at_s=9.0))
    assert await store.image_names() == (second,)
    assert await store.namings("base:1") == (second, _FIRST)
    assert await store.record_naming(replace(_FIRST, id=NamingId("na-4")))


async def a_deleted_name_means_nothing_and_has_its_history(store: StateStore) -> None:
    deleted = replace(_FIRST, id=NamingId("na-2"), key="", at_s=2.0, what="")
    assert not await store.record_naming(deleted)
    assert await store.namings("base:1") == ()
    await store.record_naming(_FIRST)
    assert await store.record_naming(deleted)
    assert not await store.record_naming(replace(deleted, id=NamingId("na-3")))
    assert await store.image_names() == ()
    assert await store.namings("base:1") == (deleted, _FIRST)
    again = replace(_FIRST, id=NamingId("na-4"), at_s=3.0)
    assert await store.record_naming(again)
    assert await store.image_names() == (again,)


async def a_sweep_forgets_names_that_were_deleted_long_ago(store: StateStore) -> None:
    for number, name in enumerate(("gone:1", "kept:1", "late:1", "back:1")):
        await store.record_naming(replace(_FIRST, id=NamingId(f"na-{number}"), name=name))
    for number, (name, at_s) in enumerate((("gone:1", 2.0), ("late:1", 9.0), ("back:1", 2.0))):
        await store.record_naming(replace(_FIRST, id=NamingId(f"na-1{number}"), name=name, key="", at_s=at_s))
    await store.record_naming(replace(_FIRST, id=NamingId("na-20"), name="back:1", at_s=3.0))
    assert await store.sweep(ended_before_s=5.0) == Swept(names=1)
    assert [len(await store.namings(name)) for name in ("gone:1", "kept:1", "late:1", "back:1")] == [
        0,
        1,
        2,
        3,
    ]
    assert [one.name for one in await store.image_names()] == ["back:1", "kept:1"]


async def only_the_last_meanings_of_a_name_are_kept(store: StateStore) -> None:
    other = replace(_FIRST, id=NamingId("na-other"), name="other:1")
    await store.record_naming(other)
    for number in range(MOST_NAMINGS + 5):
        one = replace(_FIRST, id=NamingId(f"na-{number}"), key=_KEYS[number % 2], at_s=float(number))
        await store.record_naming(one)
    assert [one.at_s for one in await store.namings("base:1")] == [
        float(number) for number in reversed(range(5, MOST_NAMINGS + 5))
    ]
    assert await store.namings("other:1") == (other,)


async def names_given_at_once_each_count(store: StateStore) -> None:
    every = [
        replace(_FIRST, id=NamingId(f"na-{n}"), name=f"base:{n % 10}", key=f"{n:064x}") for n in range(1, 41)
    ]
    assert await asyncio.gather(*map(store.record_naming, every)) == [True] * 40
    assert sum([len(await store.namings(f"base:{n}")) for n in range(10)]) == 40
    assert {one.key for one in await store.image_names()} == {
        (await store.namings(f"base:{n}"))[0].key for n in range(10)
    }


CHECKS: Final[tuple[Check, ...]] = (
    a_name_means_what_it_was_given_last,
    a_naming_sent_again_changes_nothing,
    a_deleted_name_means_nothing_and_has_its_history,
    a_sweep_forgets_names_that_were_deleted_long_ago,
    only_the_last_meanings_of_a_name_are_kept,
    names_given_at_once_each_count,
)
"""Each takes a fresh, empty store, and raises AssertionError where the store is none of ours."""
