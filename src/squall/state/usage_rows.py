"""Usage rows: what containers took of their machines, and for which calls, written to the database and read from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from squall.model.ids import CallId, ContainerId, FunctionId
from squall.model.usage import Bucket, Labels, Spend, Spends, add
from squall.state.connection import Connection
from squall.state.records import BusyRecord, ContainerRecord, Usage
from squall.state.usage_days import CallSpends, by_calls, days_of

_AT_ONCE: Final = 1_000
_KEY: Final = "day, environment, app, function, tags, gpu_type"
_SUMS: Final = "containers, container_s, cpu_s, cpu_kept_s, cpu_paid_s, memory_byte_s, memory_kept_byte_s, memory_paid_byte_s, gpu_s"
# What a container is known by in what it took, as `list_call_spends` reads it.
_TOOK: Final = "id, function, labels, gpu_type, started_s, ended_s, cpu_s, cpu_kept_s, memory_byte_s, memory_kept_byte_s, gpu_s"


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


def list_busy_in(db: Connection, containers: Sequence[ContainerId]) -> tuple[BusyRecord, ...]:
    """For which calls these containers were busy."""
    rows = db.each(
        "SELECT container, call, since_s, busy_s, at_s FROM busy WHERE container = ?",
        [(one,) for one in sorted(containers)],
    )
    found = [
        BusyRecord(
            container=ContainerId(container), call=CallId(call), since_s=since_s, busy_s=busy_s, at_s=at_s
        )
        for container, call, since_s, busy_s, at_s in rows
    ]
    return tuple(sorted(found, key=lambda one: (one.container, one.call, one.since_s)))


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


def put_days(db: Connection, was: Iterable[ContainerRecord], now: Iterable[ContainerRecord]) -> None:
    """Counts containers on their days. was: those of them that are on record already, as they are there."""
    found: Spends = {}
    for record in now:
        for bucket, spend in days_of(record):
            add(found, bucket, spend)
    for record in was:
        for bucket, spend in days_of(record):
            add(found, bucket, Spend().minus(spend))
    sums = ", ".join(f"{name} = usage_days.{name} + excluded.{name}" for name in _SUMS.split(", "))
    marks = ", ".join("?" * 15)
    db.executemany(
        f"INSERT INTO usage_days ({_KEY}, {_SUMS}) VALUES ({marks})"  # noqa: S608 - our own columns
        f" ON CONFLICT ({_KEY}) DO UPDATE SET {sums}",
        [
            (
                *(bucket.day, bucket.labels.environment, bucket.labels.app, bucket.labels.function),
                *(_tags_text(bucket.labels), bucket.gpu_type),
                *spend.to_json().values(),
            )
            for bucket, spend in found.items()
        ],
    )


def list_days(db: Connection, first_day: int, last_day: int) -> Spends:
    """The sums of these days."""
    rows = db.execute(
        f"SELECT {_KEY}, {_SUMS} FROM usage_days WHERE day >= ? AND day <= ?"  # noqa: S608 - our own columns
        f" ORDER BY {_KEY}",
        (first_day, last_day),
    )
    names = _SUMS.split(", ")
    return {
        Bucket(
            day,
            Labels(environment=environment, app=app, function=function, tags=_tags(tags)),
            gpu_type,
        ): Spend(**dict(zip(names, sums, strict=True)))
        for day, environment, app, function, tags, gpu_type, *sums in rows
    }


def drop_days(db: Connection, before_day: int) -> None:
    """Removes the sums of days before this one."""
    db.execute("DELETE FROM usage_days WHERE day < ?", (before_day,))


def list_call_spends(db: Connection, since_s: float, until_s: float) -> CallSpends:
    """What containers that ended in a time took, by call."""
    columns = ", ".join(f"containers.{name}" for name in _TOOK.split(", "))
    rows = db.execute(
        f"SELECT {columns}, busy.call, busy.busy_s FROM containers"  # noqa: S608 - our own columns
        " LEFT JOIN busy ON busy.container = containers.id"
        " WHERE containers.ended_s >= ? AND containers.ended_s < ? ORDER BY containers.id",
        (since_s, until_s),
    )
    return by_calls(_with_calls(rows))


def labels_text(labels: Labels) -> str:
    """Labels as a column; empty for none."""
    if labels == Labels():
        return ""
    plain = [labels.environment, labels.app, labels.function, dict(labels.tags)]
    return json.dumps(plain, ensure_ascii=False)


def labels_in(text: str) -> Labels:
    """The labels that a column has."""
    if not text:
        return Labels()
    environment, app, function, tags = json.loads(text)
    return Labels(environment=environment, app=app, function=function, tags=tuple(sorted(tags.items())))


def _with_calls(rows: Iterable[Any]) -> Iterator[tuple[ContainerRecord, list[tuple[str, float]]]]:
    for _, group in groupby(rows, key=itemgetter(0)):
        each = list(group)
        (
            name,
            function,
            labels,
            gpu_type,
            started_s,
            ended_s,
            cpu_s,
            cpu_kept_s,
            byte_s,
            kept_byte_s,
            gpu_s,
        ) = each[0][:11]
        record = ContainerRecord(
            id=ContainerId(name),
            function=FunctionId(function),
            started_s=started_s,
            ended_s=ended_s,
            cpu_s=cpu_s,
            cpu_kept_s=cpu_kept_s,
            memory_byte_s=byte_s,
            memory_kept_byte_s=kept_byte_s,
            gpu_s=gpu_s,
            gpu_type=gpu_type,
            labels=labels_in(labels),
        )
        yield record, [(row[11], row[12]) for row in each if row[11] is not None]


def _tags_text(labels: Labels) -> str:
    return json.dumps(dict(labels.tags), ensure_ascii=False) if labels.tags else ""


def _tags(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(json.loads(text).items())) if text else ()
