"""Lane rows: the last change of each lane and its answer, as rows of the database."""

from __future__ import annotations

import json
from collections.abc import Sequence

from squall.state.connection import Connection
from squall.state.sharing.plan import Order, order_in_lane
from squall.state.sharing.records import Answer, Said, Turn

STALE = Answer(said=Said.STALE)


def answered(db: Connection, turn: Turn) -> Answer | None:
    """What a change was answered that was made before; None for one that is the next."""
    row = db.execute(
        "SELECT number, count, lengths, payload FROM shared_lanes WHERE lane = ?", (turn.lane,)
    ).fetchone()
    order = order_in_lane(row[0] if row else None, turn.number)
    if order is Order.NEXT:
        return None
    if order is Order.STALE:
        return STALE
    return Answer(count=row[1], values=tuple(_cut(row[3], json.loads(row[2]))))


def put_answer(
    db: Connection, turn: Turn, answer: Answer, *, heap: int = 0, places: Sequence[int] = ()
) -> Answer:
    """Records what a change is answered, and gives it back. heap, places: where the values stood."""
    db.execute(
        "INSERT INTO shared_lanes (lane, number, at_s, count, lengths, payload, heap, places) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (lane) DO UPDATE SET number = excluded.number, at_s = excluded.at_s, count = excluded.count,"
        " lengths = excluded.lengths, payload = excluded.payload, heap = excluded.heap, places = excluded.places",
        (
            *(turn.lane, turn.number, turn.at_s, answer.count),
            json.dumps(list(map(len, answer.values))),
            *(b"".join(answer.values), heap, json.dumps(list(places))),
        ),
    )
    return answer


def taken(db: Connection, turn: Turn) -> tuple[int, tuple[tuple[int, bytes], ...]]:
    """The heap and the items, with their places, that the change of this turn took; nothing where it took none."""
    row = db.execute(
        "SELECT lengths, payload, heap, places FROM shared_lanes WHERE lane = ? AND number = ?",
        (turn.lane, turn.number),
    ).fetchone()
    if row is None:
        return 0, ()
    values = _cut(row[1], json.loads(row[0]))
    places: list[int] = json.loads(row[3])
    return row[2], tuple(zip(places, values, strict=False))


def _cut(payload: bytes, lengths: Sequence[int]) -> list[bytes]:
    found, at = [], 0
    for length in lengths:
        found.append(bytes(payload[at : at + length]))
        at += length
    return found
