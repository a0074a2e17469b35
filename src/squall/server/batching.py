"""Batching: for how long inputs wait for others, of a function that has several joined into one call."""

from __future__ import annotations

from collections.abc import Callable

from squall.server.records import FunctionRecord

CLOCK_S = 0.001
"""By how much a timer may be early."""

Feed = Callable[[FunctionRecord], None]


def is_due(record: FunctionRecord, now_s: float, later: Callable[..., object], feed: Feed) -> bool:
    """Whether what waits may be leased: a whole batch, or one whose first input has waited long enough.

    Else `later` has it looked at then.
    """
    left_s = left_to_wait_s(record, now_s)
    if left_s and not record.batch_is_awaited:
        record.batch_is_awaited = True
        later(left_s, _end_wait, record, feed)
    return not left_s


def left_to_wait_s(record: FunctionRecord, now_s: float) -> float:
    """For how long what waits may still wait for others; 0 where it may not."""
    if not record.line.waiting or record.line.waiting >= record.function.max_batch:
        return 0.0
    left_s = record.waiting_since_s + record.function.batch_wait_s - now_s
    return left_s if left_s > CLOCK_S else 0.0


def _end_wait(record: FunctionRecord, feed: Feed) -> None:
    record.batch_is_awaited = False
    feed(record)
