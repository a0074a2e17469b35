"""Call rows: calls, their inputs and their outcomes as rows of the database, written and read."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Final

from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.errors import CallConflict
from squall.model.ids import CallId, FunctionId
from squall.state.connection import Connection
from squall.state.records import CallRecord, InputChunk, OpenCall, OutcomeRecord
from squall.state.spans import Span, holds, joined, runs, without

_CALL: Final = "id, function, verb, inputs, done, failed, state, created_s, ended_s, head, parent"
_OUTCOME: Final = "place, attempt, kind, ended_s, blob, head, payload, code"
_CHUNK: Final = "start, count, blobs, heads, lengths, payload"
_OPEN: Final = (
    "durable AND calls.ended_s IS NULL AND (CAST(:function AS TEXT) IS NULL OR function = :function)"
    " AND (CAST(:call AS TEXT) IS NULL OR id = :call)"
)
_SPANS: Final = (
    "SELECT call_no, start, start + count FROM chunks WHERE call_no = ? AND start < ?"
    " AND start >= coalesce((SELECT max(start) FROM chunks WHERE call_no = ? AND start <= ?), 0) ORDER BY start"
)
_FIRST: Final = itemgetter(0)
_AT_ONCE: Final = 2_000  # outcomes that one step of a sweep removes
_CHUNKS_AT_ONCE: Final = 50


@dataclass(slots=True)
class _Open:
    """An open call while outcomes are added to it.

    known: runs of inputs on record; tried: of inputs that run again, the last attempt that does not count; ended_s: once it
    has ended.
    """

    no: int
    id: CallId
    inputs: int | None
    done: int
    known: list[Span] = field(default_factory=list)
    tried: dict[int, int] = field(default_factory=dict)
    won: list[OutcomeRecord] = field(default_factory=list)
    ended_s: float | None = None


def put_calls(db: Connection, calls: Sequence[tuple[CallRecord, Sequence[InputChunk]]]) -> list[None]:
    """Adds calls, or inputs to calls; those that are new and plain all at once. Raises CallConflict."""
    plain = {call.id: (call, chunks) for call, chunks in reversed(calls) if _plain(call, chunks)}
    for (known,) in db.each("SELECT id FROM calls WHERE id = ?", [(call,) for call in plain]):
        del plain[known]
    if plain:
        _insert_calls(db, [call for call, _ in plain.values()])
        numbers = dict(db.each("SELECT id, no FROM calls WHERE id = ?", [(call,) for call in plain]))
        rows = [_chunk_row(numbers[call.id], chunk) for call, chunks in plain.values() for chunk in chunks]
        _insert_chunks(db, rows)
    for call, chunks in calls:
        if plain.get(call.id) != (call, chunks):
            _put_call(db, call, chunks)
    return [None] * len(calls)


def put_outcomes(
    db: Connection, batch: Sequence[tuple[CallId, Sequence[OutcomeRecord]]]
) -> list[tuple[int, ...]]:
    """Adds outcomes of calls; for each of the batch the indexes of those that count."""
    asked = [(call, CallState.OPEN) for call in {call for call, items in batch if items}]
    found = db.each("SELECT no, id, inputs, done FROM calls WHERE id = ? AND state = ?", asked)
    open_ = {row[1]: _Open(*row) for row in found}
    named: dict[CallId, list[OutcomeRecord]] = {}
    for call, items in batch:
        if call in open_:
            named.setdefault(call, []).extend(items)
    for one, spans in _known(db, [(open_[call], items) for call, items in named.items()]):
        one.known = spans
    taken = _taken(db, [(open_[call].no, item.index) for call, items in named.items() for item in items])
    _read_tries(db, [(open_[call], [item.index for item in items]) for call, items in named.items()])
    won = [_won(open_[call], items, taken) if call in open_ else () for call, items in batch]
    _insert_outcomes(db, [(one.no, item) for one in open_.values() for item in one.won])
    changed = [one for one in open_.values() if one.won]
    db.executemany(
        "UPDATE calls SET done = done + ?, failed = failed + ? WHERE no = ?",
        [
            (len(one.won), sum(item.kind != OutcomeKind.RETURNED for item in one.won), one.no)
            for one in changed
        ],
    )
    _end_all(db, [(CallState.ENDED, one.ended_s, one.no) for one in changed if one.ended_s is not None])
    return [tuple(item.index for item in items) for items in won]


def put_end(db: Connection, call: CallId, state: CallState, at_s: float) -> bool:
    """Ends an open call; whether there was one."""
    row = db.execute("SELECT no FROM calls WHERE id = ? AND state = ?", (call, CallState.OPEN)).fetchone()
    if row is None:
        return False
    _end(db, row[0], state, at_s)
    return True


def put_summaries(db: Connection, calls: Sequence[CallRecord]) -> None:
    """Adds or replaces the summaries of calls that are not durable."""
    db.executemany(
        "INSERT INTO calls (id, function, verb, durable, inputs, done, failed, state, created_s, ended_s, head, parent)"
        " VALUES (?, ?, ?, FALSE, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET inputs = excluded.inputs,"
        " done = excluded.done, failed = excluded.failed, state = excluded.state, ended_s = excluded.ended_s,"
        " head = excluded.head WHERE NOT calls.durable",
        [
            (
                *(c.id, c.function, c.verb, c.inputs, c.done, c.failed, c.state, c.created_s, c.ended_s),
                *(c.head, c.parent),
            )
            for c in calls
        ],
    )


def get_call(db: Connection, call: CallId) -> CallRecord | None:
    row = db.execute(f"SELECT {_CALL} FROM calls WHERE id = ?", (call,)).fetchone()  # noqa: S608 - our own columns
    return None if row is None else _call(row)


def list_calls(db: Connection, function: FunctionId | None, limit: int) -> tuple[CallRecord, ...]:
    """The calls recorded last, the newest first."""
    rows = db.execute(
        f"SELECT {_CALL} FROM calls WHERE CAST(:function AS TEXT) IS NULL OR function = :function"  # noqa: S608 - our own columns
        " ORDER BY no DESC LIMIT :limit",
        {"function": function, "limit": limit},
    )
    return tuple(map(_call, rows))


def list_children(db: Connection, call: CallId, start: int, limit: int) -> tuple[CallRecord, ...]:
    """The calls that inputs of a call have made."""
    # Ids of inputs are "call:index", and ";" follows ":".
    rows = db.execute(
        f"SELECT {_CALL} FROM calls WHERE parent <> '' AND parent > ? AND parent < ? ORDER BY no LIMIT ? OFFSET ?",  # noqa: S608 - our own columns
        (f"{call}:", f"{call};", limit, start),
    )
    return tuple(map(_call, rows))


def list_open(
    db: Connection, function: FunctionId | None, call: CallId | None = None
) -> tuple[OpenCall, ...]:
    """The durable calls to go on with, oldest first."""
    asked = {"function": function, "call": call}
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
    again = db.execute(
        "SELECT call_no, place, attempt FROM calls JOIN tries ON call_no = no"  # noqa: S608 - our own columns
        f" WHERE {_OPEN} ORDER BY call_no, place",
        asked,
    )
    tried = {no: {row[1]: row[2] for row in own} for no, own in groupby(again, _FIRST)}
    return tuple(
        OpenCall(
            call=call,
            missing=(missing := tuple(without(known.get(no, ()), done.get(no, ())))),
            tried={place: last for place, last in tried.get(no, {}).items() if holds(missing, place)},
        )
        for no, call in calls.items()
    )


def list_inputs(db: Connection, call: CallId, start: int, stop: int) -> tuple[InputChunk, ...]:
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


def list_outcomes(db: Connection, call: CallId, start: int, stop: int) -> tuple[OutcomeRecord, ...]:
    """The outcomes of the inputs [start, stop)."""
    no = _number(db, call)
    if no is None:
        return ()
    rows = db.execute(
        f"SELECT {_OUTCOME} FROM outcomes WHERE call_no = ? AND place >= ? AND place < ? ORDER BY place",  # noqa: S608 - our own columns
        (no, start, stop),
    )
    return tuple(_outcome(row) for row in rows)


def list_blobs(db: Connection) -> frozenset[str]:
    """The digests that inputs and outcomes refer to."""
    found = {row[0] for row in db.execute("SELECT DISTINCT blob FROM outcomes WHERE blob IS NOT NULL")}
    for (blobs,) in db.execute("SELECT blobs FROM chunks WHERE blobs IS NOT NULL"):
        found.update(json.loads(blobs).values())
    return frozenset(found)


def list_ended(db: Connection, before_s: float, limit: int) -> tuple[int, ...]:
    """The numbers of calls that ended before then, oldest first."""
    # What is no durable call ends with its server; of one that was killed nobody says when.
    rows = db.execute(
        "SELECT no FROM calls WHERE ended_s < :before_s"
        " OR (ended_s IS NULL AND NOT durable AND created_s < :before_s) ORDER BY no LIMIT :limit",
        {"before_s": before_s, "limit": limit},
    )
    return tuple(row[0] for row in rows)


def drop_call(db: Connection, no: int) -> bool:
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
    db.execute("DELETE FROM tries WHERE call_no = ?", (no,))
    db.execute("DELETE FROM calls WHERE no = ?", (no,))
    return True


def _plain(call: CallRecord, chunks: Sequence[InputChunk]) -> bool:
    """Whether a call, were it new, would need no look at anything but itself."""
    stop = chunks[-1].stop if chunks else 0
    ordered = all(one.stop <= other.start for one, other in pairwise(chunks))
    return ordered and call.inputs != 0 and (call.inputs is None or stop <= call.inputs)


def _put_call(db: Connection, call: CallRecord, chunks: Sequence[InputChunk]) -> None:
    """Adds a call, or inputs to one. Raises CallConflict."""
    row = db.execute(
        "SELECT no, function, verb, inputs, state FROM calls WHERE id = ?", (call.id,)
    ).fetchone()
    if row is None:
        _insert_calls(db, [call])
        no, inputs = _number(db, call.id), call.inputs
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
    assert no is not None
    for chunk in chunks:
        _put_chunk(db, no, chunk)
    if inputs is not None:
        _settle_inputs(db, no, call, inputs)


def _insert_calls(db: Connection, calls: Sequence[CallRecord]) -> None:
    db.executemany(
        "INSERT INTO calls (id, function, verb, durable, inputs, done, failed, state, created_s, head, parent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                call.id,
                call.function,
                call.verb,
                True,
                call.inputs,
                0,
                0,
                CallState.OPEN,
                call.created_s,
                call.head,
                call.parent,
            )
            for call in calls
        ],
    )


def _put_chunk(db: Connection, no: int, chunk: InputChunk) -> None:
    """Adds those inputs of a chunk that are not on record: a client may cut them differently the second time."""
    here = _spans(db, no, chunk.start, chunk.stop)
    parts = list(without([(chunk.start, chunk.stop)], here))
    _insert_chunks(db, [_chunk_row(no, chunk.cut(start, stop)) for start, stop in parts])


def _insert_chunks(db: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    db.executemany(f"INSERT INTO chunks (call_no, {_CHUNK}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608 - our own columns


def _chunk_row(no: int, chunk: InputChunk) -> tuple[Any, ...]:
    blobs = {str(index): digest for index, digest in chunk.blobs.items()}
    return (
        no,
        chunk.start,
        len(chunk.lengths),
        json.dumps(blobs) if blobs else None,
        json.dumps(chunk.heads) if chunk.heads else None,
        struct.pack(f"<{len(chunk.lengths)}I", *chunk.lengths),
        chunk.payload,
    )


def _settle_inputs(db: Connection, no: int, call: CallRecord, inputs: int) -> None:
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


def _taken(db: Connection, places: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the places, each of a call by its number, that have an outcome."""
    wanted = [
        (no, low, high)
        for no, own in groupby(sorted(set(places)), _FIRST)
        for low, high in runs(place for _, place in own)
    ]
    sql = "SELECT call_no, place FROM outcomes WHERE call_no = ? AND place >= ? AND place < ?"
    return {(no, place) for no, place in db.each(sql, wanted)}


def _read_tries(db: Connection, asked: Sequence[tuple[_Open, Sequence[int]]]) -> None:
    """Has each call know which of its inputs, as far as these outcomes need it, run again."""
    calls = {call.no: call for call, _ in asked}
    wanted = [(call.no, min(places), max(places)) for call, places in asked if places]
    rows = db.each(
        "SELECT call_no, place, attempt FROM tries WHERE call_no = ? AND place >= ? AND place <= ?", wanted
    )
    for no, place, attempt in rows:
        calls[no].tried[place] = attempt


def _won(call: _Open, items: Sequence[OutcomeRecord], taken: set[tuple[int, int]]) -> list[OutcomeRecord]:
    """Those of the outcomes that count, and are then taken; the last one that a call lacks ends it."""
    if call.ended_s is not None:
        return []
    won: list[OutcomeRecord] = []
    for item in items:
        place = (call.no, item.index)
        fresh = item.attempt > call.tried.get(item.index, 0)
        if fresh and place not in taken and holds(call.known, item.index):
            taken.add(place)
            won.append(item)
    call.won += won
    call.done += len(won)
    if won and call.inputs is not None and call.done >= call.inputs:
        call.ended_s = max(item.ended_s for item in won)
    return won


def _insert_outcomes(db: Connection, outcomes: Sequence[tuple[int, OutcomeRecord]]) -> None:
    db.executemany(
        f"INSERT INTO outcomes (call_no, {_OUTCOME}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own columns
        [
            (
                *(no, item.index, item.attempt, int(item.kind), item.ended_s, item.blob, item.head),
                *(item.payload, item.code),
            )
            for no, item in outcomes
        ],
    )


def _end(db: Connection, no: int, state: CallState, at_s: float) -> None:
    _end_all(db, [(state, at_s, no)])


def _end_all(db: Connection, ended: Sequence[tuple[CallState, float, int]]) -> None:
    db.executemany("UPDATE calls SET state = ?, ended_s = ? WHERE no = ?", ended)


def _number(db: Connection, call: CallId) -> int | None:
    row = db.execute("SELECT no FROM calls WHERE id = ?", (call,)).fetchone()
    return None if row is None else int(row[0])


def _spans(db: Connection, no: int, start: int, stop: int) -> list[Span]:
    """The chunks on record that have an input in [start, stop), as spans."""
    rows = db.each(_SPANS, [(no, stop, no, start)])
    return [(low, high) for _, low, high in rows if high > start]


def _known(
    db: Connection, asked: Sequence[tuple[_Open, Sequence[OutcomeRecord]]]
) -> list[tuple[_Open, list[Span]]]:
    """Of each call the runs of inputs on record, as far as these outcomes need them."""
    places = [[item.index for item in items] for _, items in asked]
    wanted = [(call.no, max(at) + 1, call.no, min(at)) for (call, _), at in zip(asked, places, strict=True)]
    found: dict[int, list[Span]] = {}
    for no, low, high in db.each(_SPANS, wanted):
        found.setdefault(no, []).append((low, high))
    return [(call, list(joined(found.get(call.no, ())))) for call, _ in asked]


def _call(row: Sequence[Any]) -> CallRecord:
    call, function, verb, inputs, done, failed, state, created_s, ended_s, head, parent = row
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
        parent=parent,
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
    index, attempt, kind, ended_s, blob, head, payload, code = row
    return OutcomeRecord(
        index=index,
        attempt=attempt,
        kind=OutcomeKind(kind),
        ended_s=ended_s,
        head=head,
        payload=payload,
        blob=blob,
        code=code,
    )
