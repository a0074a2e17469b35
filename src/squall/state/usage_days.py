"""Usage days: to which days and calls that counts what a container took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from squall.model.usage import DAY_S, Bucket, Labels, Spend, Spends, add, by_day, shares
from squall.state.records import ContainerRecord

KEEP_S: Final = 400 * DAY_S
"""How long the sums of a day are kept after it."""

CallSpends = dict[str, Spends]
"""By the id of a call, "" for what no call had; each with buckets of the day 0."""


def spend_of(record: ContainerRecord) -> Spend:
    """What a container took that has ended; nothing of one that has not."""
    if record.ended_s is None:
        return Spend()
    cpu_s, cpu_kept_s = record.cpu_s or 0.0, record.cpu_kept_s or 0.0
    byte_s, kept_byte_s = record.memory_byte_s or 0.0, record.memory_kept_byte_s or 0.0
    return Spend(
        containers=1,
        container_s=record.ended_s - record.started_s,
        cpu_s=cpu_s,
        cpu_kept_s=cpu_kept_s,
        cpu_paid_s=max(cpu_s, cpu_kept_s),
        memory_byte_s=byte_s,
        memory_kept_byte_s=kept_byte_s,
        memory_paid_byte_s=max(byte_s, kept_byte_s),
        gpu_s=record.gpu_s or 0.0,
    )


def days_of(record: ContainerRecord) -> Iterator[tuple[Bucket, Spend]]:
    """The same on the days on which it was taken."""
    if record.ended_s is not None:
        labels = labels_of(record)
        for day, part in by_day(spend_of(record), started_s=record.started_s, ended_s=record.ended_s):
            yield Bucket(day, labels, record.gpu_type), part


def labels_of(record: ContainerRecord) -> Labels:
    """Whose it was: of one that nobody has said it of, its function by its id."""
    return record.labels if record.labels != Labels() else replace(record.labels, function=record.function)


def by_calls(containers: Iterable[tuple[ContainerRecord, list[tuple[str, float]]]]) -> CallSpends:
    """What containers took, by the calls that they worked on; with each the seconds of its calls, a call once or more."""
    found: CallSpends = {}
    for record, rows in containers:
        busy_s: dict[str, float] = {}
        for call, seconds in rows:
            busy_s[call] = busy_s.get(call, 0.0) + seconds
        whole = left = spend_of(record)
        bucket = Bucket(0, labels_of(record), record.gpu_type)
        for call, share in shares(busy_s, whole.container_s).items():
            part = whole.times(share)
            left = left.minus(part)
            add(found.setdefault(call, {}), bucket, part)
        add(found.setdefault("", {}), bucket, left)
    return found
