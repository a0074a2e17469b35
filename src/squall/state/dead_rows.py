"""Dead rows: inputs that ended without a result, listed from the database and put back to run again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from squall.model.call import CANCELLED_CODE, CallState, OutcomeKind
from squall.model.ids import CallId, FunctionId
from squall.state.connection import Connection
from squall.state.records import DeadLetter

_DEAD: Final = f"kind <> 0 AND code <> '{CANCELLED_CODE}'"


def list_dead(
    db: Connection, call: CallId | None, name: str | None, start: int, limit: int
) -> tuple[DeadLetter, ...]:
    """Those of the newest call first, ascending in each."""
    pattern = None if name is None else "%/" + name.translate({ord(one): f"!{one}" for one in "!%_"})
    rows = db.execute(
        "SELECT id, function, place, attempt, kind, code, outcomes.ended_s FROM calls"  # noqa: S608 - our own columns
        f" JOIN outcomes ON call_no = no WHERE {_DEAD} AND place >= :start"
        " AND (CAST(:call AS TEXT) IS NULL OR id = :call) AND (CAST(:name AS TEXT) IS NULL OR function LIKE :name ESCAPE '!')"
        " ORDER BY no DESC, place LIMIT :limit",
        {"call": call, "name": pattern, "start": start, "limit": limit},
    )
    return tuple(
        DeadLetter(
            call=CallId(of),
            function=FunctionId(function),
            index=place,
            attempt=attempt,
            kind=OutcomeKind(kind),
            code=code,
            ended_s=ended_s,
        )
        for of, function, place, attempt, kind, code, ended_s in rows
    )


def put_replay(db: Connection, call: CallId, indexes: Collection[int] | None) -> tuple[int, ...]:
    """Takes the outcomes of dead letters back and opens their call; which."""
    row = db.execute(
        "SELECT no FROM calls WHERE id = ? AND durable AND state = ?", (call, CallState.ENDED)
    ).fetchone()
    if row is None:
        return ()
    (no,) = row
    dead = db.execute(
        f"SELECT place, attempt FROM outcomes WHERE call_no = ? AND {_DEAD} ORDER BY place",  # noqa: S608 - our own columns
        (no,),
    )
    wanted = None if indexes is None else frozenset(indexes)
    again = [(place, attempt) for place, attempt in dead if wanted is None or place in wanted]
    if not again:
        return ()
    db.executemany(
        "INSERT INTO tries (call_no, place, attempt) VALUES (?, ?, ?)"
        " ON CONFLICT (call_no, place) DO UPDATE SET attempt = excluded.attempt",
        [(no, place, attempt) for place, attempt in again],
    )
    db.executemany(
        "DELETE FROM outcomes WHERE call_no = ? AND place = ?", [(no, place) for place, _ in again]
    )
    db.execute(
        "UPDATE calls SET done = done - :count, failed = failed - :count, state = :state, ended_s = NULL"
        " WHERE no = :no",
        {"count": len(again), "state": CallState.OPEN, "no": no},
    )
    return tuple(place for place, _ in again)
