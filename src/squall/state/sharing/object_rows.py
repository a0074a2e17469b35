"""Object rows: Dicts and Queues, and the heaps of what they hold, as rows of the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from squall.model.ids import SharedId
from squall.model.shared import SharedKind
from squall.state.connection import Connection
from squall.state.sharing.plan import Fill, has_ended
from squall.state.sharing.records import SharedRecord, SharedSize

_AT_ONCE: Final = 1_000
_OBJECT: Final = "id, kind, environment, name, created_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heap:
    """A row of what a Dict or a partition holds: how full it is, the place of its last item, and when it ends."""

    no: int
    fill: Fill
    last_no: int
    expires_s: float | None


def put_object(db: Connection, wanted: SharedRecord, most: int) -> SharedRecord | None:
    """The object that is there, or this one, added; None where there are too many."""
    known = get_by_id(db, wanted.id) or get_object(db, wanted.kind, wanted.environment, wanted.name)
    if known is not None:
        return known
    (count,) = db.execute("SELECT count(*) FROM shared_objects WHERE kind = ?", (wanted.kind,)).fetchone()
    if count >= most:
        return None
    db.execute(
        f"INSERT INTO shared_objects ({_OBJECT}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - our own columns
        (wanted.id, wanted.kind, wanted.environment, wanted.name, wanted.created_s),
    )
    return wanted


def get_object(db: Connection, kind: SharedKind, environment: str, name: str) -> SharedRecord | None:
    """The object of this name."""
    row = db.execute(
        f"SELECT {_OBJECT} FROM shared_objects"  # noqa: S608 - our own columns
        " WHERE kind = ? AND environment = ? AND name = ? AND name <> ''",
        (kind, environment, name),
    ).fetchone()
    return _object(row) if row else None


def get_by_id(db: Connection, of: SharedId) -> SharedRecord | None:
    """The object of this id."""
    row = db.execute(f"SELECT {_OBJECT} FROM shared_objects WHERE id = ?", (of,)).fetchone()  # noqa: S608 - our own columns
    return _object(row) if row else None


def list_objects(db: Connection, kind: SharedKind, now_s: float) -> tuple[SharedSize, ...]:
    """Every object of a kind, and how much each holds."""
    rows = db.execute(
        "SELECT o.id, o.kind, o.environment, o.name, o.created_s,"
        " coalesce(sum(h.entries), 0), coalesce(sum(h.size_bytes), 0), count(h.no)"
        " FROM shared_objects o LEFT JOIN shared_heaps h"
        " ON h.object = o.id AND (h.expires_s IS NULL OR h.expires_s > ?)"
        " WHERE o.kind = ? GROUP BY o.id, o.kind, o.environment, o.name, o.created_s"
        " ORDER BY o.name = '', o.environment, o.name, o.id",
        (now_s, kind),
    )
    return tuple(
        SharedSize(
            shared=_object(row[:5]),
            entries=int(row[5]),
            size_bytes=int(row[6]),
            partitions=int(row[7]) if kind is SharedKind.QUEUE else 0,
        )
        for row in rows
    )


def drop_object(db: Connection, of: SharedId) -> bool:
    """Removes an object, and leaves what it holds to be tidied; whether it was there."""
    gone = db.execute("DELETE FROM shared_objects WHERE id = ?", (of,)).rowcount == 1
    leave_heaps(db, of, None)
    return gone


def get_heap(db: Connection, of: SharedId, part: str, now_s: float) -> Heap | None:
    """The heap of a Dict or a partition, if it has one that has not ended."""
    row = db.execute(
        "SELECT no, entries, size_bytes, last_no, expires_s FROM shared_heaps WHERE object = ? AND part = ? AND object <> ''",
        (of, part),
    ).fetchone()
    if row is None or has_ended(row[4], now_s):
        return None
    return Heap(no=row[0], fill=Fill(entries=row[1], size_bytes=row[2]), last_no=row[3], expires_s=row[4])


def make_heap(db: Connection, of: SharedId, part: str, now_s: float) -> Heap:
    """A heap for a Dict or a partition that has none; one that has ended gives way."""
    leave_heaps(db, of, part)
    db.execute(
        "INSERT INTO shared_heaps (object, part, entries, size_bytes, last_no, expires_s) VALUES (?, ?, 0, 0, 0, NULL)",
        (of, part),
    )
    made = get_heap(db, of, part, now_s)
    assert made is not None
    return made


def count_heaps(db: Connection, of: SharedId) -> int:
    """How many partitions a Queue has, with those that have ended and were not tidied."""
    count: int = db.execute(
        "SELECT count(*) FROM shared_heaps WHERE object = ? AND object <> ''", (of,)
    ).fetchone()[0]
    return count


def leave_ended(db: Connection, of: SharedId, now_s: float) -> None:
    """Leaves the partitions that have ended to be tidied."""
    db.execute(
        "UPDATE shared_heaps SET object = '' WHERE object = ? AND object <> '' AND expires_s <= ?",
        (of, now_s),
    )


def leave_heaps(db: Connection, of: SharedId, part: str | None) -> None:
    """Leaves what an object holds, or one partition of it, to be tidied."""
    db.execute(
        "UPDATE shared_heaps SET object = '' WHERE object = :of AND object <> ''"
        " AND (CAST(:part AS TEXT) IS NULL OR part = :part)",
        {"of": of, "part": part},
    )


def set_fill(db: Connection, heap: int, fill: Fill) -> None:
    """Records how full a heap is now."""
    db.execute(
        "UPDATE shared_heaps SET entries = ?, size_bytes = ? WHERE no = ?",
        (fill.entries, fill.size_bytes, heap),
    )


def count_entries(db: Connection, of: SharedId, part: str | None, now_s: float) -> int | None:
    """How many entries or items there are; None where there is no such object."""
    if get_by_id(db, of) is None:
        return None
    row = db.execute(
        "SELECT coalesce(sum(entries), 0) FROM shared_heaps WHERE object = :of AND object <> ''"
        " AND (CAST(:part AS TEXT) IS NULL OR part = :part) AND (expires_s IS NULL OR expires_s > :now_s)",
        {"of": of, "part": part, "now_s": now_s},
    ).fetchone()
    return int(row[0])


def tidy(db: Connection, now_s: float, lanes_before_s: float) -> int:
    """Removes some of what nobody reaches any more; how much."""
    db.execute(
        "UPDATE shared_heaps SET object = '' WHERE object <> '' AND expires_s <= ?",
        (now_s,),
    )
    gone = db.execute(
        "DELETE FROM shared_lanes WHERE lane IN (SELECT lane FROM shared_lanes WHERE at_s < ? ORDER BY at_s LIMIT ?)",
        (lanes_before_s, _AT_ONCE),
    ).rowcount
    row = db.execute("SELECT no FROM shared_heaps WHERE object = '' ORDER BY no LIMIT 1").fetchone()
    if row is None:
        return int(gone)
    left = 0
    for table, place in (("dict_entries", "key"), ("queue_items", "no")):
        left += db.execute(
            f"DELETE FROM {table} WHERE heap = ? AND {place} IN"  # noqa: S608 - our own names
            f" (SELECT {place} FROM {table} WHERE heap = ? ORDER BY {place} LIMIT ?)",
            (row[0], row[0], _AT_ONCE),
        ).rowcount
    if left < _AT_ONCE:
        left += db.execute("DELETE FROM shared_heaps WHERE no = ?", (row[0],)).rowcount
    return int(gone + left)


def _object(row: Any) -> SharedRecord:
    id_, kind, environment, name, created_s = row
    return SharedRecord(
        id=SharedId(id_), kind=SharedKind(kind), environment=environment, name=name, created_s=created_s
    )
