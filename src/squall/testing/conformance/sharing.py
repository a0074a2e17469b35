"""Sharing conformance: what every implementation of StateStore must do with Dicts and Queues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from squall.model.ids import LaneId, SharedId
from squall.model.shared import Bounds, SharedKind
from squall.state.sharing.records import (
    Answer,
    Clear,
    GiveBack,
    Page,
    PopEntry,
    PutEntries,
    PutItems,
    Said,
    SharedRecord,
    SharedSize,
    TakeItems,
    Turn,
)
from squall.state.state_store import StateStore

Check = Callable[[StateStore], Awaitable[None]]

_DICT: Final = SharedRecord(id=SharedId("di-1"), kind=SharedKind.DICT, name="scores", created_s=1.0)
_QUEUE: Final = SharedRecord(id=SharedId("qu-1"), kind=SharedKind.QUEUE, name="work", created_s=1.0)
_BOUNDS: Final = Bounds(entries=4, size_bytes=100, partitions=2)
_PAGE: Final = Page(most=100, most_bytes=1000)


class _Lane:
    """Changes with rising numbers."""

    def __init__(self, store: StateStore, name: str = "la-1") -> None:
        self._store = store
        self.turn = Turn(lane=LaneId(name), number=0, at_s=10.0)

    def next(self, at_s: float = 10.0) -> Turn:
        self.turn = replace(self.turn, number=self.turn.number + 1, at_s=at_s)
        return self.turn

    async def put(self, entries: dict[bytes, bytes], *, only_new: bool = False) -> Answer:
        change = PutEntries(
            of=_DICT.id, turn=self.next(), entries=[*entries.items()], bounds=_BOUNDS, only_new=only_new
        )
        return await self._store.change_shared(change)

    async def pop(self, key: bytes) -> Answer:
        return await self._store.change_shared(PopEntry(of=_DICT.id, turn=self.next(), key=key))

    async def add(self, *values: bytes, part: str = "", at_s: float = 10.0, ttl_s: float = 100.0) -> Answer:
        change = PutItems(
            of=_QUEUE.id, turn=self.next(at_s), values=values, bounds=_BOUNDS, partition=part, ttl_s=ttl_s
        )
        return await self._store.change_shared(change)

    async def take(self, most: int = 1, *, part: str = "", at_s: float = 10.0) -> tuple[bytes, ...]:
        change = TakeItems(of=_QUEUE.id, turn=self.next(at_s), most=most, most_bytes=1000, partition=part)
        return (await self._store.change_shared(change)).values


async def _made(store: StateStore) -> _Lane:
    for one in (_DICT, _QUEUE):
        assert await store.open_shared(one, most=10) == one
    return _Lane(store)


async def _size(store: StateStore, part: str | None = "", at_s: float = 10.0) -> int | None:
    return await store.shared_size(_QUEUE.id, part, now_s=at_s)


async def an_object_is_found_by_its_name_and_made_once(store: StateStore) -> None:
    await _made(store)
    other = replace(_DICT, id=SharedId("di-2"))
    assert await store.open_shared(other, most=10) == _DICT
    assert await store.open_shared(replace(other, environment="test"), most=10) != _DICT
    assert await store.shared(SharedKind.DICT, "main", "scores") == _DICT
    assert await store.shared(SharedKind.QUEUE, "main", "scores") is None
    assert await store.shared(SharedKind.DICT, "main", "") is None
    nameless = [replace(_DICT, id=SharedId(f"di-{number}"), name="") for number in (3, 4)]
    for one in (*nameless, nameless[0]):
        assert await store.open_shared(one, most=10) == one
    assert await store.open_shared(replace(_DICT, id=SharedId("di-9"), name="more"), most=4) is None
    assert await store.open_shared(replace(_DICT, id=SharedId("di-9")), most=4) == _DICT


async def what_objects_hold_is_listed(store: StateStore) -> None:
    lane = await _made(store)
    await lane.put({b"a": b"12", b"b": b"3"})
    await lane.add(b"123", b"4")
    await lane.add(b"5", part="p")
    nameless = replace(_DICT, id=SharedId("di-0"), name="")
    await store.open_shared(nameless, most=10)
    assert await store.shared_objects(SharedKind.DICT, now_s=10.0) == (
        SharedSize(shared=_DICT, entries=2, size_bytes=5),
        SharedSize(shared=nameless),
    )
    queue = SharedSize(shared=_QUEUE, entries=3, size_bytes=5, partitions=2)
    assert await store.shared_objects(SharedKind.QUEUE, now_s=10.0) == (queue,)
    assert await store.shared_objects(SharedKind.QUEUE, now_s=200.0) == (SharedSize(shared=_QUEUE),)


async def a_dict_gives_what_was_put_last(store: StateStore) -> None:
    lane = await _made(store)
    assert await store.entry(_DICT.id, b"a") is None
    assert await lane.put({b"a": b"1", b"b": b"2"}) == Answer(count=2)
    assert await lane.put({b"a": b"3", b"c": b""}) == Answer(count=1)
    assert await store.entry(_DICT.id, b"a") == (b"3",)
    assert await store.entry(_DICT.id, b"c") == (b"",)
    assert await lane.put({b"a": b"4"}, only_new=True) == Answer(count=0)
    assert await store.entry(_DICT.id, b"a") == (b"3",)
    assert await lane.pop(b"a") == Answer(count=1, values=(b"3",))
    assert await lane.pop(b"a") == Answer()
    assert await lane.put({b"a": b"5"}, only_new=True) == Answer(count=1)
    assert await store.shared_size(_DICT.id, "", now_s=10.0) == 3
    assert await store.entries(_DICT.id, after=b"", page=_PAGE) == ((b"a", b"5"), (b"b", b"2"), (b"c", b""))
    page = Page(most=1, most_bytes=1000)
    assert await store.entries(_DICT.id, after=b"a", page=page) == ((b"b", b"2"),)
    keys = Page(most=2, most_bytes=1000, only_keys=True)
    assert await store.entries(_DICT.id, after=b"", page=keys) == ((b"a", b""), (b"b", b""))
    assert await store.entries(_DICT.id, after=b"a", page=Page(most=9, most_bytes=1)) == ((b"b", b"2"),)


async def a_full_dict_takes_what_needs_no_more_room(store: StateStore) -> None:
    lane = await _made(store)
    await lane.put({b"%d" % number: b"x" * 20 for number in range(4)})
    assert (await lane.put({b"new": b"", b"1": b"y"})).said is Said.FULL
    assert await store.entry(_DICT.id, b"1") == (b"x" * 20,)
    assert (await lane.put({b"1": b"y" * 37})).said is Said.FULL
    assert await lane.put({b"1": b"y" * 36}) == Answer()
    await lane.pop(b"0")
    assert await lane.put({b"new": b""}) == Answer(count=1)


async def items_come_out_as_they_went_in(store: StateStore) -> None:
    lane = await _made(store)
    assert await lane.take() == ()
    assert await lane.add(b"1", b"2") == Answer(count=2)
    await lane.add(b"a", part="p")
    await lane.add(b"3")
    assert [await _size(store, part) for part in ("", "p", "none", None)] == [3, 1, 0, 4]
    items = await store.items(_QUEUE.id, "", after=0, page=_PAGE, now_s=10.0)
    assert [item.value for item in items] == [b"1", b"2", b"3"]
    behind = await store.items(_QUEUE.id, "", after=items[0].no, page=Page(most=1, most_bytes=9), now_s=10.0)
    assert behind == items[1:2]
    assert await lane.take() == (b"1",)
    assert await lane.take(5) == (b"2", b"3")
    assert await lane.take(part="p") == (b"a",)
    assert await lane.take(part="p") == ()
    assert await _size(store, None) == 0


async def a_full_partition_takes_all_or_none(store: StateStore) -> None:
    lane = await _made(store)
    assert (await lane.add(*[b"x"] * 5)).said is Said.FULL
    assert await _size(store) == 0
    await lane.add(b"1", b"2", b"3")
    assert await lane.add(b"4", b"5") == Answer(said=Said.FULL, free_s=110.0)
    assert (await lane.add(b"x" * 98)).said is Said.FULL
    await lane.add(b"other", part="p")
    assert (await lane.add(b"third", part="q")).said is Said.FULL
    assert await lane.add(b"third", part="q", at_s=120.0) == Answer(count=1), "the others have ended"
    await lane.take(at_s=10.0)
    assert await lane.add(b"4", at_s=10.0) == Answer(count=1)


async def a_partition_ends_so_long_after_the_last_put(store: StateStore) -> None:
    lane = await _made(store)
    await lane.add(b"1", ttl_s=5.0)
    await lane.add(b"2", ttl_s=5.0, at_s=14.0)
    assert await lane.take(at_s=18.0) == (b"1",)
    assert await _size(store, at_s=19.0) == 0
    assert await store.items(_QUEUE.id, "", after=0, page=_PAGE, now_s=19.0) == ()
    assert await lane.take(at_s=19.0) == ()
    await lane.add(b"3", ttl_s=5.0, at_s=20.0)
    assert await lane.take(9, at_s=20.0) == (b"3",)


async def a_change_sent_again_is_answered_again(store: StateStore) -> None:
    lane = await _made(store)
    put = PutItems(of=_QUEUE.id, turn=lane.next(), values=(b"1", b"2"), bounds=_BOUNDS, ttl_s=9.0)
    assert [await store.change_shared(put) for _ in range(2)] == [Answer(count=2)] * 2
    take = TakeItems(of=_QUEUE.id, turn=lane.next(), most=1, most_bytes=9)
    taken = Answer(count=1, values=(b"1",))
    assert [await store.change_shared(take) for _ in range(3)] == [taken] * 3
    assert (await store.change_shared(put)).said is Said.STALE
    put_entry = PutEntries(of=_DICT.id, turn=lane.next(), entries=[(b"k", b"1")], bounds=_BOUNDS)
    await store.change_shared(put_entry)
    await _Lane(store, "la-2").put({b"k": b"2"})
    assert await store.change_shared(put_entry) == Answer(count=1)
    assert await store.entry(_DICT.id, b"k") == (b"2",)
    pop = PopEntry(of=_DICT.id, turn=lane.next(), key=b"k")
    assert [await store.change_shared(pop) for _ in range(2)] == [Answer(count=1, values=(b"2",))] * 2
    assert await _size(store) == 1


async def what_was_taken_is_given_back_to_its_place(store: StateStore) -> None:
    lane, other = await _made(store), _Lane(store, "la-2")
    await lane.add(b"1", b"2", b"3")
    assert await lane.take(2) == (b"1", b"2")
    back = GiveBack(of=_QUEUE.id, turn=lane.turn)
    assert await store.change_shared(back) == Answer(count=2)
    assert await store.change_shared(back) == Answer()
    assert await other.take(9) == (b"1", b"2", b"3")
    await other.add(b"4")
    late = TakeItems(of=_QUEUE.id, turn=lane.next(), most=1, most_bytes=9)
    assert await store.change_shared(GiveBack(of=_QUEUE.id, turn=late.turn)) == Answer()
    assert await store.change_shared(late) == Answer(), "it was given back before it came"
    assert await other.take() == (b"4",)
    stale = GiveBack(of=_QUEUE.id, turn=replace(late.turn, number=1))
    assert (await store.change_shared(stale)).said is Said.STALE
    await store.change_shared(Clear(of=_QUEUE.id, turn=lane.next()))
    assert await store.change_shared(GiveBack(of=_QUEUE.id, turn=other.turn)) == Answer()
    assert await _size(store) == 0


async def what_is_cleared_is_empty_at_once(store: StateStore) -> None:
    lane = await _made(store)
    await lane.put({b"a": b"1", b"b": b"2"})
    cleared = await store.change_shared(Clear(of=_DICT.id, turn=lane.next()))
    assert cleared == Answer(count=2)
    assert await store.entries(_DICT.id, after=b"", page=_PAGE) == ()
    await lane.put({b"a": b"3"})
    assert await store.entry(_DICT.id, b"a") == (b"3",)
    for part in ("", "p"):
        await lane.add(b"1", part=part)
    assert await store.change_shared(Clear(of=_QUEUE.id, turn=lane.next(), partition="")) == Answer(count=1)
    assert [await _size(store, part) for part in ("", "p")] == [0, 1]
    assert await store.change_shared(Clear(of=_QUEUE.id, turn=lane.next())) == Answer(count=1)
    assert await _size(store, None) == 0


async def a_dropped_object_is_gone_with_what_it_held(store: StateStore) -> None:
    lane = await _made(store)
    await lane.put({b"a": b"1"})
    await lane.add(b"1")
    assert [await store.drop_shared(_DICT.id) for _ in range(2)] == [True, False]
    assert await store.drop_shared(_QUEUE.id)
    assert await store.entry(_DICT.id, b"a") is None
    assert await _size(store) is None
    assert (await lane.put({b"a": b"1"})).said is Said.GONE
    assert (await lane.add(b"2")).said is Said.GONE
    again = replace(_DICT, id=SharedId("di-5"))
    assert await store.open_shared(again, most=10) == again
    assert await store.entry(again.id, b"a") is None


async def what_nobody_reaches_is_tidied(store: StateStore) -> None:
    lane = await _made(store)
    take = TakeItems(of=_QUEUE.id, turn=lane.next(), most=1, most_bytes=9)
    await _Lane(store, "la-2").add(b"1", b"2", ttl_s=5.0)
    await store.change_shared(take)
    await lane.put({b"a": b"1"})
    await store.change_shared(Clear(of=_DICT.id, turn=lane.next()))
    await lane.put({b"a": b"2"})
    while await store.tidy_shared(now_s=15.0, lanes_before_s=11.0):
        pass
    assert await store.entry(_DICT.id, b"a") == (b"2",)
    assert await _size(store, None, at_s=10.0) == 0
    # Its lane is forgotten: it counts as a new one.
    assert await store.change_shared(take) == Answer()


async def of_many_who_take_at_once_each_gets_other_items(store: StateStore) -> None:
    lane = await _made(store)
    await lane.add(b"1", b"2", b"3", b"4")
    lanes = [_Lane(store, f"la-{number}") for number in range(10, 16)]
    taken = await asyncio.gather(*(one.take() for one in lanes))
    assert sorted(taken) == [(), (), (b"1",), (b"2",), (b"3",), (b"4",)]
    put = await asyncio.gather(*(one.put({b"k": b"%d" % n}, only_new=True) for n, one in enumerate(lanes)))
    assert sorted(answer.count for answer in put) == [0, 0, 0, 0, 0, 1]
    winner = next(n for n, answer in enumerate(put) if answer.count)
    assert await store.entry(_DICT.id, b"k") == (b"%d" % winner,)


async def no_look_is_older_than_what_was_answered_before_it(store: StateStore) -> None:
    lane = await _made(store)
    await lane.put({b"k": b"0"})
    last, asked, answered, seen = 60, 0, 0, 0

    async def write() -> None:
        nonlocal asked, answered
        for asked in range(1, last + 1):
            await lane.put({b"k": b"%d" % asked})
            answered = asked

    async def look() -> None:
        nonlocal seen
        while seen < last:
            at_least = max(answered, seen)
            found = await store.entry(_DICT.id, b"k")
            assert found is not None
            assert at_least <= int(found[0]) <= asked
            seen = max(seen, int(found[0]))
            await asyncio.sleep(0)

    await asyncio.gather(write(), *(look() for _ in range(4)))


CHECKS: Final[tuple[Check, ...]] = (
    an_object_is_found_by_its_name_and_made_once,
    what_objects_hold_is_listed,
    a_dict_gives_what_was_put_last,
    a_full_dict_takes_what_needs_no_more_room,
    items_come_out_as_they_went_in,
    a_full_partition_takes_all_or_none,
    a_partition_ends_so_long_after_the_last_put,
    a_change_sent_again_is_answered_again,
    what_was_taken_is_given_back_to_its_place,
    what_is_cleared_is_empty_at_once,
    a_dropped_object_is_gone_with_what_it_held,
    what_nobody_reaches_is_tidied,
    of_many_who_take_at_once_each_gets_other_items,
    no_look_is_older_than_what_was_answered_before_it,
)
"""Each takes a fresh, empty store, and raises AssertionError where the store is none of ours."""
