"""Returning: what containers that outlived a server say of calls which their clients have not sent again yet."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
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

    From `open` to `clear`: outside of that nothing is kept. Bounded: beyond MOST_BYTES outcomes are passed over, and their inputs
    run again.
    """

    def __init__(self) -> None:
        self._open = False
        self._claims: dict[CallId, list[tuple[ContainerId, Segment]]] = defaultdict(list)
        self._kept: dict[CallId, list[Kept]] = defaultdict(list)
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._claims or self._kept)

    def open(self) -> None:
        """A machine has come, with what it has: the calls of that may follow."""
        self._open = True

    def claim(self, container: ContainerId, part: Segment) -> None:
        """A container says that it works on these inputs, which are not here yet."""
        if self._open:
            self._claims[part.call].append((container, part))

    def disclaim(self, container: ContainerId) -> None:
        """A container is about to say anew what it works on."""
        for call, claims in list(self._claims.items()):
            self._leave(call, [(claimer, part) for claimer, part in claims if claimer != container])

    def done(self, container: ContainerId, done: Segment) -> None:
        """A container works on these inputs no more."""
        claims = self._claims.get(done.call)
        if claims:
            of_others = [(claimer, part) for claimer, part in claims if claimer != container]
            own = [part for claimer, part in claims if claimer == container]
            rest = [(container, piece) for part in own for piece in _without(part, done.start, done.stop)]
            self._leave(done.call, [*of_others, *rest])

    def keep(self, worker: Worker, run: OutcomeRun) -> None:
        """Keeps an outcome until its call is there; its message is not acknowledged before."""
        if not self._open or self._bytes + len(run.payload) > MOST_BYTES:
            return
        named = any(type(size) is dict for size in run.sizes)
        mine = replace(run, payload=bytes(run.payload), fds=tuple(map(os.dup, run.fds)) if named else ())
        self._kept[run.part.call].append(Kept(worker, mine, worker.seen))
        self._bytes += len(run.payload)
        worker.unrecorded[worker.seen] = worker.unrecorded.get(worker.seen, 0) + 1

    def claims(self, call: CallId) -> list[tuple[ContainerId, Segment]]:
        """What is claimed of a call whose inputs are still to come."""
        return self._claims.get(call, [])

    def claimed(self, call: CallId, upto: int) -> list[tuple[ContainerId, Segment]]:
        """What is claimed of the inputs [0, upto) of a call, which have come: it is no claim any more."""
        claims = self._claims.get(call, [])
        here = [(name, piece) for name, part in claims for piece in _without(part, upto, part.stop)]
        self._leave(call, [(name, piece) for name, part in claims for piece in _without(part, 0, upto)])
        return here

    def outcomes(self, call: CallId, upto: int) -> list[Kept]:
        """The outcomes of a call whose inputs [0, upto) have come; each is to be let go."""
        kept = self._kept.pop(call, [])
        early = [one for one in kept if one.run.part.stop > upto]
        if early:
            self._kept[call] = early
        return [one for one in kept if one.run.part.stop <= upto]

    def let_go(self, kept: Kept) -> None:
        """An outcome has counted, or nobody will want it."""
        self._bytes -= len(kept.run.payload)
        for fd in kept.run.fds:
            os.close(fd)
        recorded(kept.worker, kept.number)

    def clear(self) -> None:
        """Whoever was to come back is here: what is left is of nobody."""
        for call in list(self._kept):
            for kept in self._kept.pop(call):
                self.let_go(kept)
        self._claims.clear()
        self._open = False

    def _leave(self, call: CallId, claims: list[tuple[ContainerId, Segment]]) -> None:
        if claims:
            self._claims[call] = claims
        else:
            self._claims.pop(call, None)


def _without(part: Segment, start: int, stop: int) -> Iterator[Segment]:
    """The pieces of `part` that lie before `start`, and from `stop` on."""
    for low, high in ((part.start, min(part.stop, start)), (max(part.start, stop), part.stop)):
        if low < high:
            yield replace(part, start=low, stop=high)


def recorded(worker: Worker, number: int) -> None:
    """One run of a container's message is done with."""
    left = worker.unrecorded.get(number, 0) - 1
    if left > 0:
        worker.unrecorded[number] = left
    else:
        worker.unrecorded.pop(number, None)
