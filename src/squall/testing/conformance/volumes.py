"""Volumes conformance: what every implementation of StateStore must do with volumes and their versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from squall.model.ids import CommitId, VolumeId
from squall.state.state_store import StateStore
from squall.state.volumes.records import Keeping, Put, PutVersion, VolumeLabel, VolumeRecord, VolumeVersion

Check = Callable[[StateStore], Awaitable[None]]

_OF: Final = VolumeId("vo-1")
_VOLUME: Final = VolumeRecord(id=_OF, name="data", created_s=1.0)
_FIRST: Final = VolumeVersion(volume=_OF, number=0, manifest="m0", at_s=1.0)
_MOST: Final = 3


def _version(parent: int, *, commit: str, at_s: float | None = None) -> VolumeVersion:
    number = parent + 1
    return VolumeVersion(
        volume=_OF,
        number=number,
        manifest=f"m{number}",
        parent=parent,
        commit=CommitId(commit),
        at_s=number * 10.0 if at_s is None else at_s,
        who="somebody",
        why="a reason",
        entries=number,
        size_bytes=number * 2**40,
    )


def _label(name: str, number: int, *, at_s: float) -> VolumeLabel:
    return VolumeLabel(volume=_OF, label=name, number=number, at_s=at_s)


async def _made(store: StateStore, versions: int = 0) -> list[VolumeVersion]:
    await store.open_volume(_VOLUME, _FIRST, most=_MOST)
    made = [_version(parent, commit=f"cm-{parent + 1}") for parent in range(versions)]
    for one in made:
        assert await store.put_version(one) == PutVersion(put=Put.DONE, version=one)
    return [_FIRST, *made]


async def a_volume_is_made_once_and_found_by_its_name(store: StateStore) -> None:
    assert await store.volume("main", "data") is None
    assert await store.open_volume(_VOLUME, _FIRST, most=_MOST) == _VOLUME
    other = replace(_VOLUME, id=VolumeId("vo-2"))
    assert await store.open_volume(other, replace(_FIRST, volume=other.id), most=_MOST) == _VOLUME
    assert await store.volume("main", "data") == await store.volume_of(_OF) == _VOLUME
    assert await store.volume_of(other.id) is None
    assert await store.volume_head(_OF) == _FIRST
    elsewhere = replace(other, environment="dev")
    assert await store.open_volume(elsewhere, replace(_FIRST, volume=other.id), most=_MOST) == elsewhere
    assert await store.volume("dev", "data") == elsewhere


async def volumes_are_listed_with_their_heads_and_there_are_only_so_many(store: StateStore) -> None:
    heads = await _made(store, 2)
    assert await store.put_label(_label("good", 2, at_s=1.0), most=9)
    unnamed = VolumeRecord(id=VolumeId("vo-2"), created_s=2.0)
    before = VolumeRecord(id=VolumeId("vo-3"), name="aaa", created_s=3.0)
    for one in (unnamed, before):
        assert await store.open_volume(one, replace(_FIRST, volume=one.id), most=_MOST) == one
    last = VolumeRecord(id=VolumeId("vo-4"), name="more", created_s=4.0)
    assert await store.open_volume(last, replace(_FIRST, volume=last.id), most=_MOST) is None
    assert await store.volumes() == (
        (before, replace(_FIRST, volume=before.id)),
        (_VOLUME, replace(heads[2], labels=("good",))),
        (unnamed, replace(_FIRST, volume=unnamed.id)),
    )


async def a_version_takes_the_place_of_the_head_only(store: StateStore) -> None:
    (_, one) = await _made(store, 1)
    assert await store.put_version(_version(0, commit="cm-late")) == PutVersion(put=Put.MOVED, version=one)
    assert await store.volume_head(_OF) == one
    two = _version(1, commit="cm-late")
    assert (await store.put_version(two)).version == two
    assert await store.volume_history(_OF, most=9) == (two, one, _FIRST)
    assert await store.volume_history(_OF, most=1, before=2) == (one,)
    assert await store.volume_version(_OF, 1) == one
    assert await store.volume_version(_OF, 7) is None


async def a_commit_that_is_sent_again_is_one_commit(store: StateStore) -> None:
    (_, one, two) = await _made(store, 2)
    assert await store.put_version(_version(2, commit="cm-1")) == PutVersion(put=Put.DONE, version=one)
    assert await store.put_version(_version(0, commit="cm-2")) == PutVersion(put=Put.DONE, version=two)
    assert await store.volume_commit(_OF, CommitId("cm-1")) == one
    assert await store.volume_commit(_OF, CommitId("cm-9")) is None
    assert await store.volume_commit(_OF, CommitId("")) is None
    assert await store.volume_head(_OF) == two


async def a_volume_goes_with_all_its_versions_and_a_new_one_begins_anew(store: StateStore) -> None:
    await _made(store, 2)
    await store.put_label(_label("good", 1, at_s=1.0), most=9)
    assert await store.drop_volume(_OF)
    assert not await store.drop_volume(_OF)
    assert await store.put_version(_version(2, commit="cm-3")) == PutVersion(put=Put.GONE)
    assert await store.volume_head(_OF) is None
    assert await store.volume_history(_OF, most=9) == ()
    assert await store.volume_label(_OF, "good") is None
    assert await store.volume_manifests() == frozenset()
    await _made(store, 1)
    assert await store.volume_label(_OF, "good") is None


async def a_volume_gets_a_name_that_no_other_one_has(store: StateStore) -> None:
    await _made(store)
    other = VolumeRecord(id=VolumeId("vo-2"), name="other", created_s=2.0)
    await store.open_volume(other, replace(_FIRST, volume=other.id), most=_MOST)
    assert not await store.rename_volume(_OF, "other")
    assert await store.rename_volume(_OF, "data")
    assert await store.rename_volume(_OF, "new")
    assert not await store.rename_volume(VolumeId("vo-9"), "newer")
    assert await store.volume("main", "data") is None
    assert await store.volume("main", "new") == replace(_VOLUME, name="new")


async def a_version_has_names_and_each_name_is_of_one_version(store: StateStore) -> None:
    (_, one, two) = await _made(store, 2)
    assert await store.put_label(_label("good", 1, at_s=1.0), most=2)
    assert await store.put_label(_label("good", 1, at_s=2.0), most=2)
    assert not await store.put_label(_label("good", 2, at_s=1.0), most=2)
    assert not await store.put_label(_label("none", 7, at_s=1.0), most=2)
    assert await store.put_label(_label("also", 1, at_s=1.0), most=2)
    assert not await store.put_label(_label("third", 2, at_s=1.0), most=2)
    named = replace(one, labels=("also", "good"))
    assert await store.volume_label(_OF, "good") == await store.volume_version(_OF, 1) == named
    assert await store.volume_history(_OF, most=9) == (two, named, _FIRST)
    assert await store.drop_label(_OF, "good")
    assert not await store.drop_label(_OF, "good")
    assert await store.volume_label(_OF, "good") is None


async def old_versions_go_but_for_the_head_and_those_with_a_name(store: StateStore) -> None:
    kept = await _made(store, 5)
    await store.put_label(_label("good", 1, at_s=1.0), most=9)
    nothing = Keeping(most=1, before_s=0.0, young_s=0.0)
    assert await store.prune_versions(nothing) == 0
    # Version n was the head until 10 * (n + 1): 0 until 10, 4 until 50.
    assert await store.prune_versions(Keeping(most=9, before_s=25.0, young_s=100.0)) == 1
    assert await store.volume_version(_OF, 0) is None
    assert await store.prune_versions(Keeping(most=2, before_s=0.0, young_s=35.0)) == 1
    assert await store.volume_version(_OF, 2) is None
    assert await store.volume_version(_OF, 3) == kept[3]
    assert await store.prune_versions(Keeping(most=1, before_s=100.0, young_s=100.0)) == 2
    assert [one.number for one in await store.volume_history(_OF, most=9)] == [5, 1]
    assert await store.volume_manifests() == {"m1", "m5"}
    assert (await store.put_version(_version(5, commit="cm-6"))).put is Put.DONE


CHECKS: Final[tuple[Check, ...]] = (
    a_volume_is_made_once_and_found_by_its_name,
    volumes_are_listed_with_their_heads_and_there_are_only_so_many,
    a_version_takes_the_place_of_the_head_only,
    a_commit_that_is_sent_again_is_one_commit,
    a_volume_goes_with_all_its_versions_and_a_new_one_begins_anew,
    a_volume_gets_a_name_that_no_other_one_has,
    a_version_has_names_and_each_name_is_of_one_version,
    old_versions_go_but_for_the_head_and_those_with_a_name,
)
