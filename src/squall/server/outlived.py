"""Outlived: what containers that outlived a server have in hand and say, brought together with calls that come again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from squall.model.call import CANCELLED_CODE
from squall.model.container import ContainerState
from squall.model.errors import Error
from squall.model.ids import CallId, ContainerId
from squall.scheduling.inputs import Segment
from squall.scheduling.loss import End, plan_left
from squall.server.outcome_runs import OutcomeRun, code_of
from squall.server.records import CallRecord, FunctionRecord, Worker
from squall.server.returning import Returning


class Calls(Protocol):
    """What is needed of a server's calls; see `squall.server.calls.Calls`."""

    calls: dict[CallId, CallRecord]
    returning: Returning

    def grant(self, call: CallRecord, worker: Worker) -> None:
        """See there."""

    def settle(self, record: FunctionRecord, worker: Worker, run: OutcomeRun) -> None:
        """See there."""

    def end_input(self, record: FunctionRecord, container: ContainerId, part: Segment, error: Error) -> None:
        """See there."""


def claim(calls: Calls, record: FunctionRecord, worker: Worker, holding: Iterable[Segment]) -> None:
    """A container says all that it has in hand: what has come again is its own at once, the rest as it comes."""
    calls.returning.disclaim(worker.id)
    for part in holding:
        record.line.adopt(worker.id, part)
        rest = record.line.unknown(part)
        if rest:
            calls.returning.claim(worker.id, rest)


def welcome(calls: Calls, record: FunctionRecord, call: CallRecord) -> None:
    """Inputs of a call have come again: what containers have said of them counts now."""
    submitted = record.line.calls[call.id].submitted
    for container, part in calls.returning.claimed(call.id, submitted):
        worker = record.workers.get(container)
        if worker is not None and record.line.adopt(container, part):
            worker.state = ContainerState.BUSY
            calls.grant(call, worker)
            if worker in record.free:
                record.free.remove(worker)
    for kept in calls.returning.outcomes(call.id, submitted):
        record.line.adopt(kept.worker.id, kept.run.part)
        calls.settle(record, kept.worker, kept.run)
        calls.returning.let_go(kept)


def take(calls: Calls, record: FunctionRecord, worker: Worker, run: OutcomeRun) -> None:
    """What a container says became of inputs: it counts now, or is kept until they have come again."""
    calls.returning.done(worker.id, run.part)
    for one in run.apart():
        if code_of(one) == CANCELLED_CODE:
            _left(calls, record, worker, one)
        elif record.line.unknown(one.part) and not record.line.holds(worker.id, one.part):
            calls.returning.keep(worker, one)
        else:
            record.line.adopt(worker.id, one.part)
            calls.settle(record, worker, one)


def _left(calls: Calls, record: FunctionRecord, worker: Worker, run: OutcomeRun) -> None:
    """A container has left an input of a cancelled call: where the server of before did so, its client may be back."""
    one = run.part
    if record.line.attempt_of(worker.id, one.call, one.start) != one.attempt:
        # This server did so itself, and gave it up then: that frees the container, and counts for nothing.
        calls.settle(record, worker, run)
        return
    call = calls.calls.get(one.call)
    sent = call.items_sent if call is not None else 0
    function = record.function
    step = plan_left(one, sent, function=function.name, at_most_once=function.at_most_once)
    if isinstance(step, End):
        calls.end_input(record, worker.id, one, step.error)
    else:
        record.line.requeue(worker.id, one)
