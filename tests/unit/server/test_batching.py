"""For how long inputs wait for others: until there is a whole batch, or the first has waited long enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, strategies as st

from squall.model.ids import CallId, ContainerId
from squall.server import hands
from squall.server.batching import CLOCK_S, is_due, left_to_wait_s
from squall.server.records import FunctionRecord, Worker
from tests.unit.server.stage import function

CALL = CallId("fc-1")


def waiting(count: int, *, since_s: float = 100.0) -> FunctionRecord:
    record = FunctionRecord(function(max_batch=4, batch_wait_s=2.0), waiting_since_s=since_s)
    record.line.submit(CALL, start=0, count=count, total=None)
    return record


@given(st.integers(0, 9), st.floats(0.0, 5.0))
def test_nobody_waits_longer_than_said_nor_where_there_are_enough(count: int, waited_s: float) -> None:
    left_s = left_to_wait_s(waiting(count), 100.0 + waited_s)
    if count == 0 or count >= 4 or waited_s >= 2.0:
        assert left_s == 0.0
    else:
        assert abs(left_s - (2.0 - waited_s)) <= CLOCK_S


def test_a_timer_is_set_once_and_has_the_line_looked_at_when_the_first_has_waited() -> None:
    record, timers, fed = waiting(1), list[tuple[float, Callable[..., Any], Any]](), list[FunctionRecord]()

    def later(delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        timers.append((delay_s, callback, args))

    assert not is_due(record, 101.0, later, fed.append)
    assert not is_due(record, 101.5, later, fed.append)
    ((delay_s, callback, args),) = timers
    assert delay_s == 1.0
    callback(*args)
    assert fed == [record]
    assert is_due(record, 102.0, later, fed.append)
    assert len(timers) == 1


def test_what_a_batch_leaves_over_waits_anew_for_others() -> None:
    record = waiting(6)
    worker = Worker(ContainerId("co-1"), record.function.id)
    lease = record.line.take(worker.id, record.most_inputs)
    assert lease is not None
    assert lease.count == 4
    hands.note(record, worker, lease, 110.0)
    assert record.most_leases == 1
    assert left_to_wait_s(record, 110.0) == 2.0
