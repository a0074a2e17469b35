"""Change rows: changes of Dicts and Queues made in the database, each whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from squall.model.ids import SharedId
from squall.state.connection import Connection
from squall.state.sharing import lane_rows, object_rows
from squall.state.sharing.plan import Fill, Order, order_in_lane, plan_items, plan_page, plan_puts
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
    TakeItems,
)

_GONE: Final = Answer(said=Said.GONE)
_FULL: Final = Answer(said=Said.FULL)
_BEHIND: Final = (
    "FROM dict_entries WHERE key > ? AND heap ="
    " (SELECT no FROM shared_heaps WHERE object = ? AND part = '' AND object <> '')"
)


def put_changes(db: Connection, changes: Sequence[Change]) -> list[Answer]:
    """Makes changes, one after the other; what each is answered."""
    return [put_change(db, change) for change in changes]


def put_change(db: Connection, change: Change) -> Answer:
    """Makes one change, unless it was made before."""
    if isinstance(change, GiveBack):
        return _give_back(db, change)
    before = lane_rows.answered(db, change.turn)
    if before is not None:
        return before
    if object_rows.get_by_id(db, change.of) is None:
        return _GONE
    match change:
        case PutEntries():
            return _put_entries(db, change)
        case PopEntry():
            return _pop_entry(db, change)
        case PutItems():
            return _put_items(db, change)
        case TakeItems():
            return _take_items(db, change)
        case Clear():
            return _clear(db, change)


def get_entry(db: Connection, of: SharedId, key: bytes) -> tuple[bytes] | None:
    """The value of a key."""
    row = db.execute(
        "SELECT value FROM dict_entries WHERE key = ? AND heap ="
        " (SELECT no FROM shared_heaps WHERE object = ? AND part = '' AND object <> '')",
        (key, of),
    ).fetchone()
    return (bytes(row[0]),) if row else None


def list_entries(db: Connection, of: SharedId, after: bytes, page: Page) -> tuple[tuple[bytes, bytes], ...]:
    """Entries whose keys come after this one."""
    while True:
        # Sizes first: a thousand large values are not read to give one.
        sizes = db.execute(
            f"SELECT key, {'0' if page.only_keys else 'length(value)'} {_BEHIND} ORDER BY key LIMIT ?",
            (after, of, page.most),
        ).fetchall()
        lengths = [len(key) + length for key, length in sizes]
        some = plan_page(lengths, most=page.most, most_bytes=page.most_bytes)
        if page.only_keys or not some:
            return tuple((bytes(key), b"") for key, _ in sizes[:some])
        rows = db.execute(
            f"SELECT key, value {_BEHIND} AND key <= ? ORDER BY key", (after, of, sizes[some - 1][0])
        ).fetchall()
        # Without any, somebody took them between the two looks, and others may stand behind them.
        if rows:
            return tuple((bytes(key), bytes(value)) for key, value in rows)


def list_items(db: Connection, heap: object_rows.Heap | None, after: int, page: Page) -> tuple[Item, ...]:
    """Items of a partition behind a place."""
    if heap is None:
        return ()
    while True:
        # As with entries.
        sizes = db.execute(
            "SELECT no, length(value) FROM queue_items WHERE heap = ? AND no > ? ORDER BY no LIMIT ?",
            (heap.no, after, page.most),
        ).fetchall()
        some = plan_page([row[1] for row in sizes], most=page.most, most_bytes=page.most_bytes)
        if not some:
            return ()
        rows = db.execute(
            "SELECT no, value FROM queue_items WHERE heap = ? AND no > ? AND no <= ? ORDER BY no",
            (heap.no, after, sizes[some - 1][0]),
        ).fetchall()
        if rows:
            return tuple(Item(no=no, value=bytes(value)) for no, value in rows)


def _put_entries(db: Connection, change: PutEntries) -> Answer:
    heap = object_rows.get_heap(db, change.of, "", change.turn.at_s)
    sizes: dict[bytes, int] = {}
    if heap is not None:
        asked = [(heap.no, key) for key, _ in change.entries]
        found = db.each("SELECT key, length(value) FROM dict_entries WHERE heap = ? AND key = ?", asked)
        sizes = {bytes(key): length for key, length in found}
    fill = Fill() if heap is None else heap.fill
    puts = plan_puts(change.entries, sizes, fill, change.bounds, only_new=change.only_new)
    if puts.fill is None:
        return _FULL
    if puts.writes:
        if heap is None:
            heap = object_rows.make_heap(db, change.of, "", change.turn.at_s)
        number = heap.no
        db.executemany(
            "INSERT INTO dict_entries (heap, key, value) VALUES (?, ?, ?)"
            " ON CONFLICT (heap, key) DO UPDATE SET value = excluded.value",
            [(number, key, value) for key, value in puts.writes.items()],
        )
        object_rows.set_fill(db, number, puts.fill)
    return lane_rows.put_answer(db, change.turn, Answer(count=puts.new))


def _pop_entry(db: Connection, change: PopEntry) -> Answer:
    heap = object_rows.get_heap(db, change.of, "", change.turn.at_s)
    found = get_entry(db, change.of, change.key)
    if heap is None or found is None:
        return lane_rows.put_answer(db, change.turn, Answer())
    db.execute("DELETE FROM dict_entries WHERE heap = ? AND key = ?", (heap.no, change.key))
    size = len(change.key) + len(found[0])
    object_rows.set_fill(
        db, heap.no, Fill(entries=heap.fill.entries - 1, size_bytes=heap.fill.size_bytes - size)
    )
    return lane_rows.put_answer(db, change.turn, Answer(count=1, values=found))


def _put_items(db: Connection, change: PutItems) -> Answer:
    now_s = change.turn.at_s
    heap = object_rows.get_heap(db, change.of, change.partition, now_s)
    fill = plan_items(change.values, Fill() if heap is None else heap.fill, change.bounds)
    if fill is None:
        return replace(_FULL, free_s=None if heap is None else heap.expires_s)
    if heap is None:
        if object_rows.count_heaps(db, change.of) >= change.bounds.partitions:
            object_rows.leave_ended(db, change.of, now_s)
            if object_rows.count_heaps(db, change.of) >= change.bounds.partitions:
                return _FULL
        heap = object_rows.make_heap(db, change.of, change.partition, now_s)
    number, first = heap.no, heap.last_no + 1
    db.executemany(
        "INSERT INTO queue_items (heap, no, value) VALUES (?, ?, ?)",
        [(number, no, value) for no, value in enumerate(change.values, first)],
    )
    db.execute(
        "UPDATE shared_heaps SET entries = ?, size_bytes = ?, last_no = ?, expires_s = ? WHERE no = ?",
        (
            *(fill.entries, fill.size_bytes, first + len(change.values) - 1),
            *(now_s + change.ttl_s, number),
        ),
    )
    return lane_rows.put_answer(db, change.turn, Answer(count=len(change.values)))


def _take_items(db: Connection, change: TakeItems) -> Answer:
    """What finds nothing is not recorded: sent again, it may find something."""
    heap = object_rows.get_heap(db, change.of, change.partition, change.turn.at_s)
    page = Page(most=change.most, most_bytes=change.most_bytes)
    items = list_items(db, heap, 0, page)
    if heap is None or not items:
        return Answer()
    db.execute("DELETE FROM queue_items WHERE heap = ? AND no <= ?", (heap.no, items[-1].no))
    size = sum(len(item.value) for item in items)
    fill = Fill(entries=heap.fill.entries - len(items), size_bytes=heap.fill.size_bytes - size)
    object_rows.set_fill(db, heap.no, fill)
    answer = Answer(count=len(items), values=tuple(item.value for item in items))
    return lane_rows.put_answer(db, change.turn, answer, heap=heap.no, places=[item.no for item in items])


def _give_back(db: Connection, change: GiveBack) -> Answer:
    row = db.execute("SELECT number FROM shared_lanes WHERE lane = ?", (change.turn.lane,)).fetchone()
    order = order_in_lane(row[0] if row else None, change.turn.number)
    if order is Order.STALE:
        return lane_rows.STALE
    number, items = lane_rows.taken(db, change.turn) if order is Order.AGAIN else (0, ())
    if order is Order.AGAIN and not items:
        return Answer()
    heap = db.execute(
        "SELECT entries, size_bytes FROM shared_heaps WHERE no = ? AND object <> ''", (number,)
    ).fetchone()
    if heap is not None and items:
        db.executemany(
            "INSERT INTO queue_items (heap, no, value) VALUES (?, ?, ?)",
            [(number, no, value) for no, value in items],
        )
        size = sum(len(value) for _, value in items)
        object_rows.set_fill(db, number, Fill(entries=heap[0] + len(items), size_bytes=heap[1] + size))
    # From now on the change that took them counts as one that took none, also where it comes late.
    lane_rows.put_answer(db, change.turn, Answer())
    return Answer(count=len(items) if heap is not None else 0)


def _clear(db: Connection, change: Clear) -> Answer:
    count = object_rows.count_entries(db, change.of, change.partition, change.turn.at_s) or 0
    object_rows.leave_heaps(db, change.of, change.partition)
    return lane_rows.put_answer(db, change.turn, Answer(count=count))
