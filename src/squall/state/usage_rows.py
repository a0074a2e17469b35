"""Usage rows: what containers took of their machines, and for which calls, written to the database and read from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from squall.model.ids import CallId, ContainerId, FunctionId
from squall.state.connection import Connection
from squall.state.records import BusyRecord, Usage

_AT_ONCE: Final = 1_000


def put_busy(db: Connection, rows: Sequence[BusyRecord]) -> None:
    """Adds or replaces what servers have counted."""
    db.executemany(
        "INSERT INTO busy (container, call, since_s, busy_s, at_s) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (container, call, since_s) DO UPDATE SET busy_s = excluded.busy_s, at_s = excluded.at_s",
        [(row.container, row.call, row.since_s, row.busy_s, row.at_s) for row in rows],
    )


def list_busy(db: Connection, call: CallId) -> tuple[BusyRecord, ...]:
    """Where inputs of a call were being run."""
    rows = db.execute(
        "SELECT container, since_s, busy_s, at_s FROM busy WHERE call = ? ORDER BY container, since_s",
        (call,),
    )
    return tuple(
        BusyRecord(container=ContainerId(container), call=call, since_s=since_s, busy_s=busy_s, at_s=at_s)
        for container, since_s, busy_s, at_s in rows
    )


def list_usage(db: Connection, since_s: float, until_s: float) -> tuple[Usage, ...]:
    """Sums of the containers that ended in a time, by function."""
    rows = db.execute(
        "SELECT function, count(*), sum(ended_s - started_s), coalesce(sum(cpu_s), 0), coalesce(sum(cpu_kept_s), 0),"
        " coalesce(sum(memory_byte_s), 0), coalesce(sum(memory_kept_byte_s), 0), coalesce(sum(gpu_s), 0)"
        " FROM containers WHERE ended_s >= ? AND ended_s < ? GROUP BY function ORDER BY function",
        (since_s, until_s),
    )
    return tuple(
        Usage(
            function=FunctionId(function),
            containers=count,
            container_s=container_s,
            cpu_s=cpu_s,
            cpu_kept_s=cpu_kept_s,
            memory_byte_s=memory_byte_s,
            memory_kept_byte_s=memory_kept_byte_s,
            gpu_s=gpu_s,
        )
        for function, count, container_s, cpu_s, cpu_kept_s, memory_byte_s, memory_kept_byte_s, gpu_s in rows
    )


def drop_busy(db: Connection, before_s: float) -> int:
    """Removes what was counted last before then, as much as one step may; how many rows."""
    return db.execute(
        "DELETE FROM busy WHERE (container, call, since_s) IN"
        " (SELECT container, call, since_s FROM busy WHERE at_s < ? LIMIT ?)",
        (before_s, _AT_ONCE),
    ).rowcount
