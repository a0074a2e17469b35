"""Hands: the inputs that a container works on at once, of a function that has several there: each has a time of its own."""

from __future__ import annotations

import math

from squall.model.container import ContainerState
from squall.scheduling.inputs import Lease, Segment, singles
from squall.server.records import FunctionRecord, Hand, Worker
from squall.server.telling import interrupt

GRACE_S = 2.0
"""How long an input whose time is up may take to give way, before its container is killed with all that it works on."""


def note(record: FunctionRecord, worker: Worker, lease: Lease, now_s: float) -> None:
    """A container was given these inputs, and begins with each at once; what a batch has left over begins to wait anew."""
    if record.function.max_batch:
        record.waiting_since_s = now_s
    if record.function.side_by_side:
        for part in lease.segments:
            for index in range(part.start, part.stop):
                worker.hands[(part.call, index)] = Hand(now_s)


def keep_time(record: FunctionRecord, worker: Worker, now_s: float) -> bool:
    """Interrupts inputs whose time is up; whether the container has to go, because one of them did not give way."""
    held = {(one.call, one.start): one for part in record.line.held(worker.id) for one in singles(part)}
    # Of what a container was found with after a restart of the server, the time begins now.
    worker.hands = {key: worker.hands.get(key) or Hand(now_s) for key in held}
    for key, hand in worker.hands.items():
        if hand.interrupted_s is None and now_s - hand.since_s >= record.function.timeout_s:
            hand.interrupted_s = now_s
            interrupt(worker, held[key], why="timeout")
        elif hand.interrupted_s is not None and now_s - hand.interrupted_s > GRACE_S:
            worker.state = ContainerState.STOPPING
            worker.retiring = worker.killed = True
            return True
    return False


def due_s(record: FunctionRecord, worker: Worker) -> float:
    """When `keep_time` has something to do next."""
    timeout_s = record.function.timeout_s
    return min(
        (
            hand.since_s + timeout_s if hand.interrupted_s is None else hand.interrupted_s + GRACE_S
            for hand in worker.hands.values()
        ),
        default=math.inf,
    )


def is_interrupted(worker: Worker, first: Segment) -> bool:
    """Whether the time of an input was up: of the only one that its container works on, or of one of several."""
    hand = worker.hands.get((first.call, first.start))
    return worker.interrupted_s is not None if hand is None else hand.interrupted_s is not None
