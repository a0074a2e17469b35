"""Memory sharing: Dicts and Queues in dicts; the part of `MemoryState` that is theirs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from squall.model.ids import LaneId, SharedId
from squall.model.shared import SharedKind
from squall.state.sharing.plan import (
    Fill,
    Order,
    has_ended,
    order_in_lane,
    plan_items,
    plan_page,
    plan_puts,
)
from squall.state.sharing.records import (
    Answer,
    Change,
    Clear,
    GiveBack,
    Item,
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

_GONE = Answer(said=Said.GONE)
_FULL = Answer(said=Said.FULL)
_STALE = Answer(said=Said.STALE)


@dataclass(slots=True)
class _Heap:
    """What a Dict or a partition holds."""

    entries: dict[bytes, bytes] = field(default_factory=dict)
    items: dict[int, bytes] = field(default_factory=dict)
    last_no: int = 0
    expires_s: float | None = None

    @property
    def fill(self) -> Fill:
        """How full it is."""
        sizes = [len(key) + len(value) for key, value in self.entries.items()]
        sizes += map(len, self.items.values())
        return Fill(entries=len(sizes), size_bytes=sum(sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Last:
    """The last change of a lane: its answer, and from where it took what is in it."""

    turn: Turn
    answer: Answer
    heap: _Heap | None = None
    items: tuple[Item, ...] = ()


class MemorySharing:
    """A SharingStore in dicts."""

    def __init__(self) -> None:
        super().__init__()
        self._shared: dict[SharedId, SharedRecord] = {}
        self._heaps: dict[SharedId, dict[str, _Heap]] = {}
        self._lanes: dict[LaneId, _Last] = {}

    def _open(self) -> None:
        """Raises StoreClosed; see `MemoryState`."""
        raise NotImplementedError

    async def open_shared(self, wanted: SharedRecord, *, most: int) -> SharedRecord | None:
        self._open()
        known = self._shared.get(wanted.id) or self._named(wanted.kind, wanted.environment, wanted.name)
        if known is None and sum(one.kind is wanted.kind for one in self._shared.values()) < most:
            known = self._shared[wanted.id] = wanted
            self._heaps[wanted.id] = {}
        return known

    async def shared(self, kind: SharedKind, environment: str, name: str) -> SharedRecord | None:
        self._open()
        return self._named(kind, environment, name)

    async def shared_objects(self, kind: SharedKind, *, now_s: float) -> tuple[SharedSize, ...]:
        self._open()
        found = [one for one in self._shared.values() if one.kind is kind]
        found.sort(key=lambda one: (not one.name, one.environment, one.name, one.id))
        return tuple(self._size(one, now_s) for one in found)

    async def drop_shared(self, of: SharedId) -> bool:
        self._open()
        for heap in self._heaps.pop(of, {}).values():
            heap.last_no = -1
        return self._shared.pop(of, None) is not None

    async def change_shared(self, change: Change) -> Answer:
        self._open()
        last = self._lanes.get(change.turn.lane)
        order = order_in_lane(None if last is None else last.turn.number, change.turn.number)
        if order is Order.STALE:
            return _STALE
        if isinstance(change, GiveBack):
            return self._give_back(change, last if order is Order.AGAIN else None)
        if last is not None and order is Order.AGAIN:
            return last.answer
        if change.of not in self._shared:
            return _GONE
        match change:
            case PutEntries():
                return self._put_entries(change)
            case PopEntry():
                return self._pop_entry(change)
            case PutItems():
                return self._put_items(change)
            case TakeItems():
                return self._take_items(change)
            case Clear():
                return self._clear(change)

    async def entry(self, of: SharedId, key: bytes) -> tuple[bytes] | None:
        self._open()
        heap = self._heaps.get(of, {}).get("", _Heap())
        return (heap.entries[key],) if key in heap.entries else None

    async def entries(self, of: SharedId, *, after: bytes, page: Page) -> tuple[tuple[bytes, bytes], ...]:
        self._open()
        heap = self._heaps.get(of, {}).get("", _Heap())
        found = [
            (key, b"" if page.only_keys else heap.entries[key]) for key in sorted(heap.entries) if key > after
        ]
        sizes = [len(key) + len(value) for key, value in found]
        return tuple(found[: plan_page(sizes, most=page.most, most_bytes=page.most_bytes)])

    async def items(
        self, of: SharedId, partition: str, *, after: int, page: Page, now_s: float
    ) -> tuple[Item, ...]:
        self._open()
        heap = self._heap(of, partition, now_s)
        return () if heap is None else _items(heap, after, page)

    async def shared_size(self, of: SharedId, partition: str | None, *, now_s: float) -> int | None:
        self._open()
        return self._count(of, partition, now_s) if of in self._shared else None

    async def tidy_shared(self, *, now_s: float, lanes_before_s: float) -> int:
        self._open()
        old = [lane for lane, last in self._lanes.items() if last.turn.at_s < lanes_before_s]
        for lane in old:
            del self._lanes[lane]
        gone = 0
        for heaps in self._heaps.values():
            for part in [part for part, heap in heaps.items() if has_ended(heap.expires_s, now_s)]:
                heaps.pop(part).last_no = -1
                gone += 1
        return len(old) + gone

    def _named(self, kind: SharedKind, environment: str, name: str) -> SharedRecord | None:
        asked = (kind, environment, name)
        for one in self._shared.values():
            if one.name and (one.kind, one.environment, one.name) == asked:
                return one
        return None

    def _size(self, one: SharedRecord, now_s: float) -> SharedSize:
        heaps = [heap for heap in self._heaps[one.id].values() if not has_ended(heap.expires_s, now_s)]
        return SharedSize(
            shared=one,
            entries=sum(heap.fill.entries for heap in heaps),
            size_bytes=sum(heap.fill.size_bytes for heap in heaps),
            partitions=len(heaps) if one.kind is SharedKind.QUEUE else 0,
        )

    def _heap(self, of: SharedId, part: str, now_s: float) -> _Heap | None:
        heap = self._heaps.get(of, {}).get(part)
        return None if heap is None or has_ended(heap.expires_s, now_s) else heap

    def _count(self, of: SharedId, part: str | None, now_s: float) -> int:
        return sum(
            heap.fill.entries
            for name, heap in self._heaps[of].items()
            if part in {None, name} and not has_ended(heap.expires_s, now_s)
        )

    def _answer(
        self, turn: Turn, answer: Answer, heap: _Heap | None = None, items: tuple[Item, ...] = ()
    ) -> Answer:
        self._lanes[turn.lane] = _Last(turn=turn, answer=answer, heap=heap, items=items)
        return answer

    def _put_entries(self, change: PutEntries) -> Answer:
        heap = self._heaps[change.of].get("", _Heap())
        sizes = {key: len(value) for key, value in heap.entries.items()}
        puts = plan_puts(change.entries, sizes, heap.fill, change.bounds, only_new=change.only_new)
        if puts.fill is None:
            return _FULL
        if puts.writes:
            heap.entries.update(puts.writes)
            self._heaps[change.of][""] = heap
        return self._answer(change.turn, Answer(count=puts.new))

    def _pop_entry(self, change: PopEntry) -> Answer:
        entries = self._heaps[change.of].get("", _Heap()).entries
        if change.key not in entries:
            return self._answer(change.turn, Answer())
        return self._answer(change.turn, Answer(count=1, values=(entries.pop(change.key),)))

    def _put_items(self, change: PutItems) -> Answer:
        now_s, heaps = change.turn.at_s, self._heaps[change.of]
        heap = self._heap(change.of, change.partition, now_s)
        if plan_items(change.values, Fill() if heap is None else heap.fill, change.bounds) is None:
            return replace(_FULL, free_s=None if heap is None else heap.expires_s)
        if heap is None:
            open_ = [name for name, one in heaps.items() if not has_ended(one.expires_s, now_s)]
            if len(open_) >= change.bounds.partitions:
                return _FULL
            heaps.pop(change.partition, _Heap()).last_no = -1
            heap = heaps[change.partition] = _Heap()
        for value in change.values:
            heap.last_no += 1
            heap.items[heap.last_no] = value
        heap.expires_s = now_s + change.ttl_s
        return self._answer(change.turn, Answer(count=len(change.values)))

    def _take_items(self, change: TakeItems) -> Answer:
        heap = self._heap(change.of, change.partition, change.turn.at_s)
        items = () if heap is None else _items(heap, 0, Page(most=change.most, most_bytes=change.most_bytes))
        if heap is None or not items:
            return Answer()
        for item in items:
            del heap.items[item.no]
        answer = Answer(count=len(items), values=tuple(item.value for item in items))
        return self._answer(change.turn, answer, heap, items)

    def _give_back(self, change: GiveBack, last: _Last | None) -> Answer:
        if last is not None and not last.items:
            return Answer()
        self._answer(change.turn, Answer())
        if last is None or last.heap is None or last.heap.last_no < 0:
            return Answer()
        last.heap.items.update({item.no: item.value for item in last.items})
        return Answer(count=len(last.items))

    def _clear(self, change: Clear) -> Answer:
        count = self._count(change.of, change.partition, change.turn.at_s)
        heaps = self._heaps[change.of]
        for part in [part for part in heaps if change.partition in {None, part}]:
            heaps.pop(part).last_no = -1
        return self._answer(change.turn, Answer(count=count))


def _items(heap: _Heap, after: int, page: Page) -> tuple[Item, ...]:
    found = [Item(no=no, value=heap.items[no]) for no in sorted(heap.items) if no > after]
    sizes = [len(item.value) for item in found]
    return tuple(found[: plan_page(sizes, most=page.most, most_bytes=page.most_bytes)])
