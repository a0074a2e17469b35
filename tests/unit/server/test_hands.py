"""Inputs that a container works on at once: each has a time of its own, and the container is given no more than its most."""

from __future__ import annotations

from squall.model.container import ContainerState
from squall.model.ids import CallId, ContainerId
from squall.server import hands
from squall.server.records import FunctionRecord, Hand, Worker
from tests.unit.server.stage import function

ONE, TWO = (CallId("fc-1"), 0), (CallId("fc-1"), 1)


def working(*, inputs: int) -> tuple[FunctionRecord, Worker]:
    """A container that works on so many inputs of one call, each taken a second after the one before."""
    record = FunctionRecord(function(max_inputs=4, timeout_s=10.0))
    worker = Worker(ContainerId("co-1"), record.function.id, state=ContainerState.BUSY)
    record.line.submit(CallId("fc-1"), start=0, count=inputs, total=inputs)
    for second in range(inputs):
        lease = record.line.take(worker.id, record.most_inputs)
        assert lease is not None
        assert lease.count == 1
        hands.note(record, worker, lease, float(second))
    return record, worker


def test_the_time_of_each_begins_when_it_was_taken_and_is_up_for_it_alone() -> None:
    record, worker = working(inputs=2)
    assert hands.due_s(record, worker) == 10.0
    assert not hands.keep_time(record, worker, 10.0)
    assert worker.hands == {ONE: Hand(0.0, 10.0), TWO: Hand(1.0)}
    assert hands.due_s(record, worker) == 11.0
    first, second = record.line.held(worker.id)
    assert hands.is_interrupted(worker, first)
    assert not hands.is_interrupted(worker, second)


def test_a_container_goes_when_one_of_them_does_not_give_way() -> None:
    record, worker = working(inputs=2)
    hands.keep_time(record, worker, 10.0)
    assert not hands.keep_time(record, worker, 10.0 + hands.GRACE_S)
    assert hands.keep_time(record, worker, 10.1 + hands.GRACE_S)
    assert worker.killed
    assert worker.state is ContainerState.STOPPING


def test_one_that_gave_way_in_time_is_forgotten() -> None:
    record, worker = working(inputs=2)
    hands.keep_time(record, worker, 10.0)
    (first, _second) = record.line.held(worker.id)
    list(record.line.finish(worker.id, first))
    assert not hands.keep_time(record, worker, 20.0)
    assert worker.hands == {TWO: Hand(1.0, 20.0)}


def test_of_what_a_container_was_found_with_the_time_begins_when_it_is_seen() -> None:
    record, worker = working(inputs=1)
    worker.hands.clear()
    assert not hands.keep_time(record, worker, 50.0)
    assert worker.hands == {ONE: Hand(50.0)}
    assert hands.due_s(record, worker) == 60.0


def test_a_container_that_works_on_one_keeps_no_hands() -> None:
    record = FunctionRecord(function())
    worker = Worker(ContainerId("co-1"), record.function.id)
    record.line.submit(CallId("fc-1"), start=0, count=1, total=1)
    lease = record.line.take(worker.id, record.most_inputs)
    assert lease is not None
    hands.note(record, worker, lease, 0.0)
    assert not worker.hands
    assert record.most_leases == 1


def test_the_container_that_has_least_in_hand_gets_the_next_input() -> None:
    record, busy = working(inputs=3)
    free = Worker(ContainerId("co-2"), record.function.id)
    record.free = [free, busy]
    assert record.most_leases == 4
    assert record.freest is free
