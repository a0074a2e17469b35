"""Schedule rows: schedules and their ticks as rows of the database, written and read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from squall.model.deploy import DeployedName
from squall.model.ids import CallId
from squall.state.connection import Connection
from squall.state.schedule_records import MOST_TICKS, ScheduleKey, ScheduleRecord, TickRecord, TickState

_SCHEDULE: Final = "environment, app, function, rule, salt, anchor_s, seen_s, floor_s, missed, missed_s"
_TICK: Final = "environment, app, function, at_s, call, state, taken_s, why"
_OF: Final = "environment = ? AND app = ? AND function = ?"

_FLOOR: Final = (
    f"SELECT coalesce(max(at_s), 0.0) FROM ticks WHERE {_OF} AND state <> ? AND at_s NOT IN"  # noqa: S608 - names of columns
    f" (SELECT at_s FROM ticks WHERE {_OF} ORDER BY at_s DESC LIMIT {MOST_TICKS})"
)


def put_schedule(db: Connection, one: ScheduleRecord) -> None:
    """Adds a schedule, or puts it in the place of the one that the function had."""
    db.execute(f"DELETE FROM schedules WHERE {_OF}", _key(one.key))  # noqa: S608 - names of columns
    db.execute(
        f"INSERT INTO schedules ({_SCHEDULE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of columns
        (
            *_key(one.key),
            *(one.rule, one.salt, one.anchor_s, one.seen_s, one.floor_s, one.missed, one.missed_s),
        ),
    )


def drop_schedule(db: Connection, key: ScheduleKey) -> bool:
    """Removes a schedule; its ticks stay. Whether it was there."""
    return db.execute(f"DELETE FROM schedules WHERE {_OF}", _key(key)).rowcount == 1  # noqa: S608 - names of columns


def put_ticks(db: Connection, schedule: ScheduleRecord, ticks: Sequence[TickRecord]) -> tuple[float, ...]:
    """Adds ticks, and where the schedule stands then; the instants that nobody had taken before."""
    new = tuple(one.at_s for one in ticks if _put_tick(db, one))
    (floor_s,) = db.execute(
        _FLOOR,
        (*_key(schedule.key), TickState.TAKEN, *_key(schedule.key)),
    ).fetchone()
    db.execute(
        f"DELETE FROM ticks WHERE {_OF} AND at_s <= ? AND state <> ?",  # noqa: S608 - names of columns
        (*_key(schedule.key), floor_s, TickState.TAKEN),
    )
    db.execute(
        f"UPDATE schedules SET seen_s = ?, missed = ?, missed_s = ?, floor_s = CASE WHEN floor_s > ? THEN floor_s ELSE ? END WHERE {_OF}",  # noqa: S608 - names of columns
        (
            *(schedule.seen_s, schedule.missed, schedule.missed_s),
            *(floor_s, floor_s, *_key(schedule.key)),
        ),
    )
    return new


def put_tick_state(db: Connection, tick: TickRecord) -> None:
    """Has a tick stand elsewhere."""
    db.execute(
        f"UPDATE ticks SET state = ?, why = ? WHERE {_OF} AND at_s = ?",  # noqa: S608 - names of columns
        (tick.state, tick.why, *_key(tick.key), tick.at_s),
    )


def list_schedules(db: Connection) -> tuple[ScheduleRecord, ...]:
    """Every schedule, by environment, app and function."""
    rows = db.execute(f"SELECT {_SCHEDULE} FROM schedules ORDER BY environment, app, function")  # noqa: S608 - names of columns
    return tuple(
        ScheduleRecord(
            key=ScheduleKey(DeployedName(row[0], row[1]), row[2]),
            rule=row[3],
            salt=row[4],
            anchor_s=row[5],
            seen_s=row[6],
            floor_s=row[7],
            missed=row[8],
            missed_s=row[9],
        )
        for row in rows
    )


def list_ticks(db: Connection, key: ScheduleKey | None) -> tuple[TickRecord, ...]:
    """The ticks of a function, or of all, the last first."""
    where, values = ("", ()) if key is None else (f" WHERE {_OF}", _key(key))
    rows = db.execute(
        f"SELECT {_TICK} FROM ticks{where} ORDER BY environment, app, function, at_s DESC",  # noqa: S608 - names of columns
        values,
    )
    return tuple(_tick(*row) for row in rows)


def _put_tick(db: Connection, tick: TickRecord) -> bool:
    added = db.execute(
        f"INSERT INTO ticks ({_TICK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (environment, app, function, at_s) DO NOTHING",  # noqa: S608 - names of columns
        (*_key(tick.key), tick.at_s, tick.call, tick.state, tick.taken_s, tick.why),
    )
    return added.rowcount == 1


def _key(key: ScheduleKey) -> tuple[str, str, str]:
    return key.deployed.environment, key.deployed.app, key.function


def _tick(*row: Any) -> TickRecord:
    environment, app, function, at_s, call, state, taken_s, why = row
    return TickRecord(
        key=ScheduleKey(DeployedName(environment, app), function),
        at_s=at_s,
        call=CallId(call),
        state=TickState(state),
        taken_s=taken_s,
        why=why,
    )
