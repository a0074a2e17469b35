"""Returning: what containers that outlived a server say of calls which their clients have not sent again yet."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, replace

from squall.model.ids import CallId, ContainerId
from squall.scheduling.inputs import Segment
from squall.server.outcome_runs import OutcomeRun
from squall.server.records import Worker

MOST_BYTES = 64 * 2**20


@dataclass(slots=True)
class Kept:
    """An outcome that came before its call, and the container that must keep it until it counts."""

    worker: Worker
    run: OutcomeRun
    number: int


class Returning:
    """Claims (these inputs are in my hands) and early outcomes, by call; false when there are none.

    Bounded: beyond MOST_BYTES outcomes are passed over, and their inputs run again.
    """

    def __init__(self) -> None:
        self._claims: dict[CallId, list[tuple[ContainerId, Segment]]] = defaultdict(list)
        self._kept: dict[CallId, list[Kept]] = defaultdict(list)
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._claims or self._kept)

    def claim(self, container: ContainerId, part: Segment) -> None:
        """A container says that it works on these inputs."""
        self._claims[part.call].append((container, part))

    def keep(self, worker: Worker, run: OutcomeRun) -> None:
        """Keeps an outcome until its call is there; its message is not acknowledged before."""
        if self._bytes + len(run.payload) > MOST_BYTES:
            return
        named = any(type(size) is dict for size in run.sizes)
        mine = replace(run, payload=bytes(run.payload), fds=tuple(map(os.dup, run.fds)) if named else ())
        self._kept[run.part.call].append(Kept(worker, mine, worker.seen))
        self._bytes += len(run.payload)
        worker.unrecorded[worker.seen] = worker.unrecorded.get(worker.seen, 0) + 1

    def claims(self, call: CallId) -> list[tuple[ContainerId, Segment]]:
        """What is claimed of a call, and is still to come when only a part of its inputs is here."""
        return self._claims.get(call, [])

    def outcomes(self, call: CallId) -> list[Kept]:
        """The outcomes of a call; each is to be let go."""
        return self._kept.pop(call, [])

    def let_go(self, kept: Kept) -> None:
        """An outcome has counted, or nobody will want it."""
        self._bytes -= len(kept.run.payload)
        for fd in kept.run.fds:
            os.close(fd)
        recorded(kept.worker, kept.number)

    def clear(self) -> None:
        """Whoever was to come back is here: what is left is of nobody."""
        for call in list(self._kept):
            for kept in self.outcomes(call):
                self.let_go(kept)
        self._claims.clear()


def recorded(worker: Worker, number: int) -> None:
    """One run of a container's message is done with."""
    left = worker.unrecorded.get(number, 0) - 1
    if left > 0:
        worker.unrecorded[number] = left
    else:
        worker.unrecorded.pop(number, None)
