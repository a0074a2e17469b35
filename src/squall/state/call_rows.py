"""Call rows: calls, their inputs and their outcomes as rows of the database, written and read."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.errors import CallConflict
from squall.model.ids import CallId, FunctionId
from squall.state.records import CallRecord, InputChunk, OpenCall, OutcomeRecord
from squall.state.spans import Span, holds, joined, runs, without

_CALL: Final = "id, function, verb, inputs, done, failed, state, created_s, ended_s, head"
_OUTCOME: Final = "place, attempt, kind, ended_s, blob, head, payload"
_CHUNK: Final = "start, count, blobs, heads, lengths, payload"
_OPEN: Final = "durable AND calls.ended_s IS NULL AND (:function IS NULL OR function = :function)"
_FIRST: Final = itemgetter(0)
_AT_ONCE: Final = 2_000  # outcomes that one step of a sweep removes
_CHUNKS_AT_ONCE: Final = 50


def put_call(db: sqlite3.Connection, call: CallRecord, chunks: Sequence[InputChunk]) -> None:
    """Adds a call, or inputs to one. Raises CallConflict."""
    row = db.execute(
        "SELECT no, function, verb, inputs, state FROM calls WHERE id = ?", (call.id,)
    ).fetchone()
    if row is None:
        no, inputs = _insert_call(db, call), call.inputs
    else:
        no, function, verb, known, state = row
        if (function, verb) != (call.function, call.verb):
            raise CallConflict(f"{call.id} is a {verb} of {function} on record", call=call.id)
        if state != CallState.OPEN:
            return
        if known is not None and call.inputs is not None and known != call.inputs:
            raise CallConflict(f"{call.id} has {known} inputs on record, not {call.inputs}", call=call.id)
        inputs = known
        if known is None and call.inputs is not None:
            inputs = call.inputs
            db.execute("UPDATE calls SET inputs = ? WHERE no = ?", (inputs, no))
    for chunk in chunks:
        _put_chunk(db, no, chunk)
    if inputs is not None:
        _settle_inputs(db, no, call, inputs)


def put_outcomes(db: sqlite3.Connection, call: CallId, items: Sequence[OutcomeRecord]) -> tuple[int, ...]:
    """Adds outcomes; the indexes of those that count."""
    row = db.execute("SELECT no, inputs, done, state FROM calls WHERE id = ?", (call,)).fetchone()
    if row is None or row[3] != CallState.OPEN or not items:
        return ()
    no, inputs, done, _ = row
    places = [item.index for item in items]
    known = list(joined(_spans(db, no, min(places), max(places) + 1)))
    won = [item for item in items if holds(known, item.index) and _insert_outcome(db, no, item)]
    if won:
        failed = sum(item.kind != OutcomeKind.RETURNED for item in won)
        db.execute(
            "UPDATE calls SET done = done + ?, failed = failed + ? WHERE no = ?", (len(won), failed, no)
        )
        if inputs is not None and done + len(won) >= inputs:
            _end(db, no, CallState.ENDED, max(item.ended_s for item in won))
    return tuple(item.index for item in won)


def put_end(db: sqlite3.Connection, call: CallId, state: CallState, at_s: float) -> bool:
    """Ends an open call; whether there was one."""
    row = db.execute("SELECT no FROM calls WHERE id = ? AND state = ?", (call, CallState.OPEN)).fetchone()
    if row is None:
        return False
    _end(db, row[0], state, at_s)
    return True


def put_summaries(db: sqlite3.Connection, calls: Sequence[CallRecord]) -> None:
    """Adds or replaces the summaries of calls that are not durable."""
    db.executemany(
        "INSERT INTO calls (id, function, verb, durable, inputs, done, failed, state, created_s, ended_s, head)"
        " VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET inputs = excluded.inputs,"
        " done = excluded.done, failed = excluded.failed, state = excluded.state, ended_s = excluded.ended_s,"
        " head = excluded.head WHERE NOT durable",
        [
            (c.id, c.function, c.verb, c.inputs, c.done, c.failed, c.state, c.created_s, c.ended_s, c.head)
            for c in calls
        ],
    )


def get_call(db: sqlite3.Connection, call: CallId) -> CallRecord | None:
    row = db.execute(f"SELECT {_CALL} FROM calls WHERE id = ?", (call,)).fetchone()  # noqa: S608 - our own columns
    return None if row is None else _call(row)


def list_calls(db: sqlite3.Connection, function: FunctionId | None, limit: int) -> tuple[CallRecord, ...]:
    """The calls recorded last, the newest first."""
    rows = db.execute(
        f"SELECT {_CALL} FROM calls WHERE :function IS NULL OR function = :function"  # noqa: S608 - our own columns
        " ORDER BY no DESC LIMIT :limit",
        {"function": function, "limit": limit},
    )
    return tuple(map(_call, rows))


def list_open(db: sqlite3.Connection, function: FunctionId | None) -> tuple[OpenCall, ...]:
    """The durable calls to go on with, oldest first."""
    asked = {"function": function}
    rows = db.execute(f"SELECT no, {_CALL} FROM calls WHERE {_OPEN} ORDER BY no", asked)  # noqa: S608 - our own columns
    calls = {row[0]: _call(row[1:]) for row in rows}
    # Three passes for all calls, not three for each: there may be a hundred thousand of one input.
    chunks = db.execute(
        "SELECT call_no, start, start + count FROM calls JOIN chunks ON call_no = no"  # noqa: S608 - our own columns
        f" WHERE {_OPEN} ORDER BY call_no, start",
        asked,
    )
    known = {no: list(joined((row[1], row[2]) for row in own)) for no, own in groupby(chunks, _FIRST)}
    places = db.execute(
        "SELECT call_no, place FROM calls JOIN outcomes ON call_no = no"  # noqa: S608 - our own columns
        f" WHERE {_OPEN} AND done > 0 ORDER BY call_no, place",
        asked,
    )
    done = {no: list(runs(row[1] for row in own)) for no, own in groupby(places, _FIRST)}
    return tuple(
        OpenCall(call=call, missing=tuple(without(known.get(no, ()), done.get(no, ()))))
        for no, call in calls.items()
    )


def list_inputs(db: sqlite3.Connection, call: CallId, start: int, stop: int) -> tuple[InputChunk, ...]:
    """The inputs [start, stop) on record."""
    no = _number(db, call)
    if no is None or start >= stop:
        return ()
    rows = db.execute(
        f"SELECT {_CHUNK} FROM chunks WHERE call_no = :no AND start < :stop"  # noqa: S608 - our own columns
        " AND start >= coalesce((SELECT max(start) FROM chunks WHERE call_no = :no AND start <= :start), 0)"
        " ORDER BY start",
        {"no": no, "start": start, "stop": stop},
    )
    chunks = (_chunk(row) for row in rows)
    return tuple(
        chunk.cut(max(start, chunk.start), min(stop, chunk.stop)) for chunk in chunks if chunk.stop > start
    )


def list_outcomes(db: sqlite3.Connection, call: CallId, start: int, stop: int) -> tuple[OutcomeRecord, ...]:
    """The outcomes of the inputs [start, stop)."""
    no = _number(db, call)
    if no is None:
        return ()
    rows = db.execute(
        f"SELECT {_OUTCOME} FROM outcomes WHERE call_no = ? AND place >= ? AND place < ? ORDER BY place",  # noqa: S608 - our own columns
        (no, start, stop),
    )
    return tuple(_outcome(row) for row in rows)


def list_blobs(db: sqlite3.Connection) -> frozenset[str]:
    """The digests that inputs and outcomes refer to."""
    found = {row[0] for row in db.execute("SELECT DISTINCT blob FROM outcomes WHERE blob IS NOT NULL")}
    for (blobs,) in db.execute("SELECT blobs FROM chunks WHERE blobs IS NOT NULL"):
        found.update(json.loads(blobs).values())
    return frozenset(found)


def list_ended(db: sqlite3.Connection, before_s: float, limit: int) -> tuple[int, ...]:
    """The numbers of calls that ended before then, oldest first."""
    rows = db.execute("SELECT no FROM calls WHERE ended_s < ? ORDER BY no LIMIT ?", (before_s, limit))
    return tuple(row[0] for row in rows)


def drop_call(db: sqlite3.Connection, no: int) -> bool:
    """Removes a call, or as much of it as one step may; whether it is gone."""
    gone = db.execute(
        "DELETE FROM outcomes WHERE call_no = :no AND place IN"
        " (SELECT place FROM outcomes WHERE call_no = :no LIMIT :limit)",
        {"no": no, "limit": _AT_ONCE},
    ).rowcount
    if gone == _AT_ONCE:
        return False
    gone = db.execute(
        "DELETE FROM chunks WHERE call_no = :no AND start IN"
        " (SELECT start FROM chunks WHERE call_no = :no LIMIT :limit)",
        {"no": no, "limit": _CHUNKS_AT_ONCE},
    ).rowcount
    if gone == _CHUNKS_AT_ONCE:
        return False
    db.execute("DELETE FROM calls WHERE no = ?", (no,))
    return True


def _insert_call(db: sqlite3.Connection, call: CallRecord) -> int:
    cursor = db.execute(
        "INSERT INTO calls (id, function, verb, durable, inputs, done, failed, state, created_s, head)"
        " VALUES (?, ?, ?, 1, ?, 0, 0, ?, ?, ?)",
        (call.id, call.function, call.verb, call.inputs, CallState.OPEN, call.created_s, call.head),
    )
    return int(cursor.lastrowid or 0)


def _put_chunk(db: sqlite3.Connection, no: int, chunk: InputChunk) -> None:
    """Adds those inputs of a chunk that are not on record: a client may cut them differently the second time."""
    here = _spans(db, no, chunk.start, chunk.stop)
    for start, stop in list(without([(chunk.start, chunk.stop)], here)):
        part = chunk.cut(start, stop)
        blobs = {str(index): digest for index, digest in part.blobs.items()}
        row = (
            no,
            part.start,
            len(part.lengths),
            json.dumps(blobs) if blobs else None,
            json.dumps(part.heads) if part.heads else None,
            struct.pack(f"<{len(part.lengths)}I", *part.lengths),
            part.payload,
        )
        db.execute(f"INSERT INTO chunks (call_no, {_CHUNK}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - our own columns


def _settle_inputs(db: sqlite3.Connection, no: int, call: CallRecord, inputs: int) -> None:
    """Checks how many inputs there are in all, and ends a call whose last outcome came before the number did."""
    last = db.execute(
        "SELECT start + count FROM chunks WHERE call_no = ? ORDER BY start DESC LIMIT 1", (no,)
    ).fetchone()
    if last is not None and last[0] > inputs:
        raise CallConflict(f"{call.id} has {inputs} inputs, and one beyond them came", call=call.id)
    (done,) = db.execute("SELECT done FROM calls WHERE no = ?", (no,)).fetchone()
    if done >= inputs:
        (at_s,) = db.execute("SELECT max(ended_s) FROM outcomes WHERE call_no = ?", (no,)).fetchone()
        _end(db, no, CallState.ENDED, call.created_s if at_s is None else at_s)


def _insert_outcome(db: sqlite3.Connection, no: int, item: OutcomeRecord) -> bool:
    cursor = db.execute(
        f"INSERT OR IGNORE INTO outcomes (call_no, {_OUTCOME}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own columns
        (no, item.index, item.attempt, int(item.kind), item.ended_s, item.blob, item.head, item.payload),
    )
    return cursor.rowcount == 1


def _end(db: sqlite3.Connection, no: int, state: CallState, at_s: float) -> None:
    db.execute("UPDATE calls SET state = ?, ended_s = ? WHERE no = ?", (state, at_s, no))


def _number(db: sqlite3.Connection, call: CallId) -> int | None:
    row = db.execute("SELECT no FROM calls WHERE id = ?", (call,)).fetchone()
    return None if row is None else int(row[0])


def _spans(db: sqlite3.Connection, no: int, start: int, stop: int) -> list[Span]:
    """The chunks on record that have an input in [start, stop), as spans."""
    rows = db.execute(
        "SELECT start, start + count FROM chunks WHERE call_no = :no AND start < :stop"
        " AND start >= coalesce((SELECT max(start) FROM chunks WHERE call_no = :no AND start <= :start), 0)"
        " ORDER BY start",
        {"no": no, "start": start, "stop": stop},
    )
    return [(low, high) for low, high in rows if high > start]


def _call(row: Sequence[Any]) -> CallRecord:
    call, function, verb, inputs, done, failed, state, created_s, ended_s, head = row
    return CallRecord(
        id=CallId(call),
        function=FunctionId(function),
        verb=Verb(verb),
        inputs=inputs,
        done=done,
        failed=failed,
        state=CallState(state),
        created_s=created_s,
        ended_s=ended_s,
        head=head,
    )


def _chunk(row: Sequence[Any]) -> InputChunk:
    start, count, blobs, heads, lengths, payload = row
    return InputChunk(
        start=start,
        lengths=struct.unpack(f"<{count}I", lengths),
        payload=payload,
        blobs={} if blobs is None else {int(index): digest for index, digest in json.loads(blobs).items()},
        heads=() if heads is None else tuple(json.loads(heads)),
    )


def _outcome(row: Sequence[Any]) -> OutcomeRecord:
    index, attempt, kind, ended_s, blob, head, payload = row
    return OutcomeRecord(
        index=index,
        attempt=attempt,
        kind=OutcomeKind(kind),
        ended_s=ended_s,
        head=head,
        payload=payload,
        blob=blob,
    )
