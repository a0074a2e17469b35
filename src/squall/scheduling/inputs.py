"""The life of an input: waiting line, lease, attempt, fence, retry, outcome. No clock, no socket: events in, answers out.

Two rules hold after every step: an input is in exactly one of {not yet submitted, waiting, delayed, leased, ended};
and an outcome counts only if its attempt is the one that is leased, to the container that it comes from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from squall.model.ids import CallId, ContainerId

MOST_STALE = 10_000
"""Of how many dropped calls is remembered which attempts are still in hand."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of inputs [start, stop) of one call, in one attempt; alone: they must not share a container's lease."""

    call: CallId
    start: int
    stop: int
    attempt: int = 1
    alone: bool = False

    def __len__(self) -> int:
        return self.stop - self.start


def singles(part: Segment) -> list[Segment]:
    """The inputs of a segment, each by itself."""
    return [
        Segment(part.call, index, index + 1, part.attempt, part.alone)
        for index in range(part.start, part.stop)
    ]


@dataclass(slots=True)
class CallLine:
    """One call's inputs: those waiting, and how far it has come.

    first: the number of first attempts; above 1 for a call that was dropped while containers had inputs of it in hand, and
    that has come again: what they say of it still is about attempts before. resting: inputs whose first attempt is not given out
    for now; whoever counts takes them for waiting.
    """

    id: CallId
    first: int = 1
    submitted: int = 0
    total: int | None = None
    ended: bytearray = field(default_factory=bytearray)
    ended_count: int = 0
    waiting: deque[Segment] = field(default_factory=deque)
    waiting_count: int = 0
    resting: deque[Segment] = field(default_factory=deque)
    delayed: set[int] = field(default_factory=set)
    losses: dict[int, int] = field(default_factory=dict)
    kills: dict[int, int] = field(default_factory=dict)
    raises: dict[int, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether every input has its outcome."""
        return self.total is not None and self.ended_count == self.total

    def offer(self, segment: Segment, *, first: bool = False) -> None:
        """Puts inputs into the waiting line, at its head when they have waited before."""
        (self.waiting.appendleft if first else self.waiting.append)(segment)
        self.waiting_count += len(segment)


@dataclass(slots=True)
class Lease:
    """What one container has in hand, in the order in which it works on it."""

    segments: list[Segment]

    @property
    def count(self) -> int:
        """How many inputs are in hand."""
        return sum([part.stop - part.start for part in self.segments])


class FunctionLine:
    """The waiting line of one function: its calls take turns, its containers hold leases."""

    def __init__(self) -> None:
        self.calls: dict[CallId, CallLine] = {}
        self.leases: dict[ContainerId, list[Lease]] = {}
        self.waiting = 0
        self.resting = 0
        self.leased = 0
        self.fenced = 0
        self._turns: deque[CallId] = deque()
        # The attempts of dropped calls that are still in hand: their numbers are not given again.
        self._stale: dict[CallId, int] = {}

    def fresh(self, call: CallId, *, start: int, count: int, total: int | None = None) -> int:
        """How many of the inputs [start, start + count) are not known yet.

        Raises ValueError for inputs that do not follow those before them, and for a total that they contradict.
        """
        line = self.calls.get(call)
        known = line.submitted if line is not None else 0
        if not 0 <= start <= known or count < 0:
            raise ValueError(f"inputs of {call} come in order: {known} expected, not {start}")
        said = line.total if line is not None and line.total is not None else total
        if total is not None and said != total:
            raise ValueError(f"{call} has {said} inputs, not {total}")
        if said is not None and max(known, start + count) > said:
            raise ValueError(f"{call} has {said} inputs, and one beyond them came")
        return max(0, start + count - known)

    def submit(self, call: CallId, *, start: int, count: int, total: int | None, attempt: int = 1) -> int:
        """Takes inputs [start, start + count) of a call; those known already are passed over. How many were new.

        total: how many inputs the call has in all, once the client knows. attempt: the number of their first attempt, above 1
        where there were some before. Raises what `fresh` raises.
        """
        fresh = self.fresh(call, start=start, count=count, total=total)
        line = self._line(call)
        if total is not None:
            line.total = total
        if fresh:
            first = max(line.first, attempt)
            self._offer(line, Segment(call, line.submitted, line.submitted + fresh, first))
            line.submitted += fresh
            line.ended.extend(bytes(fresh))
        return fresh

    def skip(self, call: CallId, *, start: int, count: int) -> None:
        """The client has the outcomes of inputs [start, start + count) already: they are ended here too.

        Those known already stay as they are. Raises what `fresh` raises.
        """
        fresh = self.fresh(call, start=start, count=count)
        line = self._line(call)
        line.submitted += fresh
        line.ended.extend(b"\x01" * fresh)
        line.ended_count += fresh

    def take(self, container: ContainerId, most: int) -> Lease | None:
        """Leases up to `most` waiting inputs to a container; calls take turns.

        None when nothing waits, or what waits must be alone and the container is not empty.
        """
        held = self.leases.get(container)
        if held and held[0].segments[0].alone:
            return None
        segments: list[Segment] = []
        room = most
        while room > 0 and self._turns:
            line = self.calls[self._turns[0]]
            alone = line.waiting[0].alone
            if alone and (segments or held):
                break
            segments.append(self._cut(line, 1 if alone else room))
            room -= len(segments[-1])
            if not line.waiting:
                self._turns.popleft()
            else:
                self._turns.rotate(-1)
            if alone:
                break
        if not segments:
            return None
        lease = Lease(segments)
        self.leases.setdefault(container, []).append(lease)
        taken = lease.count
        self.waiting -= taken
        self.leased += taken
        return lease

    def finish(self, container: ContainerId, done: Segment) -> Iterator[tuple[int, int]]:
        """Ends the inputs of `done`, and gives the runs [start, stop) whose outcome counts; the rest is fenced."""
        held = self._release(container, done)
        line = self._current(done)
        if line is None or not held:
            self.fenced += len(done)
            return
        for start, stop in held:
            line.ended[start:stop] = b"\x01" * (stop - start)
            line.ended_count += stop - start
            yield start, stop
        self.fenced += len(done) - sum(stop - start for start, stop in held)

    def give_back(self, container: ContainerId, part: Segment) -> int:
        """Inputs that a container had not started stand at the head of the line again. How many."""
        line = self._current(part)
        returned = 0
        for start, stop in self._release(container, part):
            if line is not None:
                self._offer(line, Segment(part.call, start, stop, part.attempt, part.alone), first=True)
            returned += stop - start
        return returned

    def put_off(self, container: ContainerId, one: Segment) -> bool:
        """Delays one input that a container had in hand; `again` puts it back in line. False: it is fenced."""
        if not self._release(container, one):
            return False
        line = self._current(one)
        if line is None:
            return False
        line.delayed.add(one.start)
        return True

    def again(self, one: Segment) -> None:
        """The delay of an input is over: it stands in line for its next attempt."""
        line = self._current(one)
        if line is not None and one.start in line.delayed:
            line.delayed.discard(one.start)
            # Its call has had its turn: else one whose inputs fail again and again would keep the others from theirs.
            line_had_none = not line.waiting
            self._offer(line, Segment(one.call, one.start, one.stop, one.attempt + 1, one.alone), first=True)
            if line_had_none:
                self._turns.rotate(-1)

    def held(self, container: ContainerId) -> list[Segment]:
        """Everything a container has in hand, in its order; it is at work on the first input of the first segment."""
        return [segment for lease in self.leases.get(container, ()) for segment in lease.segments]

    def requeue(self, container: ContainerId, lost: Segment, *, alone: bool = False) -> None:
        """Inputs of a container that is lost stand at the head of the line for another attempt."""
        line = self._current(lost)
        for start, stop in self._release(container, lost):
            if line is not None:
                self._offer(line, Segment(lost.call, start, stop, lost.attempt + 1, alone), first=True)

    def leave(self, container: ContainerId) -> None:
        """A container is gone: what it still has in hand stands at the head of the line again."""
        for segment in reversed(self.held(container)):
            self.give_back(container, segment)
        self.leases.pop(container, None)

    def adopt(self, container: ContainerId, segment: Segment) -> int:
        """A container that outlived the server says that it works on these inputs: take them out of the line.

        How many; those that do not wait (not submitted yet, ended, delayed, leased to another), or wait for an attempt after
        that one, are passed over.
        """
        line = self.calls.get(segment.call)
        if line is None:
            return 0
        rested = bool(line.resting)
        self._wake(line)
        found: list[Segment] = []
        for waiting in list(line.waiting):
            low, high = max(waiting.start, segment.start), min(waiting.stop, segment.stop)
            if low < high and waiting.attempt <= segment.attempt:
                found.append(Segment(line.id, low, high, segment.attempt, segment.alone))
                self._take_out(line, waiting, found[-1])
        if found:
            self.leases.setdefault(container, []).append(Lease(found))
        adopted = sum(map(len, found))
        self.leased += adopted
        if rested:
            self.rest(segment.call)
        return adopted

    def rest(self, call: CallId) -> int:
        """Inputs of a call that were never tried are not given out until `wake`; what is to be tried again is. How many rest."""
        line = self.calls.get(call)
        if line is None or not line.waiting:
            return 0 if line is None else sum(map(len, line.resting))
        resting = [part for part in line.waiting if part.attempt == line.first]
        line.waiting = deque(part for part in line.waiting if part.attempt != line.first)
        count = sum(map(len, resting))
        # Those that were given back stand before those that have never been given out.
        line.resting = deque(sorted((*line.resting, *resting), key=lambda part: part.start))
        line.waiting_count -= count
        self.waiting -= count
        self.resting += count
        if count and not line.waiting:
            self._turns.remove(call)
        return sum(map(len, line.resting))

    def wake(self) -> None:
        """What rests waits again."""
        for line in self.calls.values():
            self._wake(line)

    def drop(self, call: CallId) -> list[tuple[ContainerId, Segment]]:
        """Forgets a call (ended, cancelled): nothing of it waits, and who is still working on it is told to stop."""
        line = self.calls.pop(call, None)
        if line is None:
            return []
        self.waiting -= line.waiting_count
        self.resting -= sum(map(len, line.resting))
        if call in self._turns:
            self._turns.remove(call)
        working: list[tuple[ContainerId, Segment]] = []
        if line.ended_count + line.waiting_count + len(line.delayed) < line.submitted:
            for container, leases in self.leases.items():
                for lease in leases:
                    working.extend((container, part) for part in lease.segments if part.call == call)
        tried = [line.first - 1, *(part.attempt for _, part in working)]
        if line.delayed:
            tried.append(line.first + max(line.raises.values(), default=0))
        if max(tried):
            self._stale[call] = max(tried)
            if len(self._stale) > MOST_STALE:
                del self._stale[next(iter(self._stale))]
        return working

    def waits(self, part: Segment) -> bool:
        """Whether some of these inputs stand in line."""
        line = self.calls.get(part.call)
        return line is not None and any(
            max(part.start, waiting.start) < min(part.stop, waiting.stop)
            for waiting in (*line.waiting, *line.resting)
        )

    def unknown(self, part: Segment) -> Segment:
        """The inputs of a segment that have not come yet, which may be none."""
        line = self.calls.get(part.call)
        submitted = line.submitted if line is not None else 0
        return replace(part, start=min(part.stop, max(part.start, submitted)))

    def is_current(self, part: Segment) -> bool:
        """Whether this is an attempt of the call as it is here now, not as it was before it was dropped."""
        return self._current(part) is not None

    def holds(self, container: ContainerId, part: Segment) -> bool:
        """Whether a container has some of these inputs in hand in that attempt, also of a call that was dropped."""
        return any(
            held.call == part.call
            and held.attempt == part.attempt
            and max(held.start, part.start) < min(held.stop, part.stop)
            for held in self.held(container)
        )

    def attempt_of(self, container: ContainerId, call: CallId, index: int) -> int | None:
        """The attempt in which a container works on an input, or None if it does not."""
        for lease in self.leases.get(container, ()):
            for part in lease.segments:
                if part.call == call and part.start <= index < part.stop and self.is_current(part):
                    return part.attempt
        return None

    def _line(self, call: CallId) -> CallLine:
        line = self.calls.get(call)
        if line is None:
            line = self.calls[call] = CallLine(call, first=self._stale.pop(call, 0) + 1)
        return line

    def _current(self, part: Segment) -> CallLine | None:
        line = self.calls.get(part.call)
        return line if line is not None and part.attempt >= line.first else None

    def _wake(self, line: CallLine) -> None:
        resting, line.resting = line.resting, deque()
        for part in resting:
            self.resting -= len(part)
            self._offer(line, part)

    def _offer(self, line: CallLine, segment: Segment, *, first: bool = False) -> None:
        if not line.waiting:
            (self._turns.appendleft if first else self._turns.append)(line.id)
        line.offer(segment, first=first)
        self.waiting += len(segment)

    def _take_out(self, line: CallLine, waiting: Segment, part: Segment) -> None:
        """Takes `part` out of the middle of a call's line; what of `waiting` lies around it stays."""
        place = line.waiting.index(waiting)
        del line.waiting[place]
        for low, high in ((part.stop, waiting.stop), (waiting.start, part.start)):
            if low < high:
                line.waiting.insert(place, Segment(line.id, low, high, waiting.attempt, waiting.alone))
        if not line.waiting:
            self._turns.remove(line.id)
        line.waiting_count -= len(part)
        self.waiting -= len(part)

    def _cut(self, line: CallLine, room: int) -> Segment:
        """The first `room` inputs of a call's line, of one segment."""
        segment = line.waiting.popleft()
        if len(segment) > room:
            middle = segment.start + room
            line.waiting.appendleft(
                Segment(segment.call, middle, segment.stop, segment.attempt, segment.alone)
            )
            segment = Segment(segment.call, segment.start, middle, segment.attempt, segment.alone)
        line.waiting_count -= len(segment)
        return segment

    def _release(self, container: ContainerId, done: Segment) -> list[tuple[int, int]]:
        """Takes a run of inputs out of a container's leases; the runs that it really held in that attempt."""
        held: list[tuple[int, int]] = []
        leases = self.leases.get(container)
        if not leases:
            return held
        for lease in leases:
            kept: list[Segment] = []
            for part in lease.segments:
                start, stop = max(part.start, done.start), min(part.stop, done.stop)
                if part.call != done.call or part.attempt != done.attempt or start >= stop:
                    kept.append(part)
                    continue
                if held and held[-1][1] == start:
                    held[-1] = (held[-1][0], stop)
                else:
                    held.append((start, stop))
                kept += [
                    Segment(part.call, low, high, part.attempt, part.alone)
                    for low, high in ((part.start, start), (stop, part.stop))
                    if low < high
                ]
            lease.segments = kept
        self.leases[container] = [lease for lease in leases if lease.segments]
        self.leased -= sum(stop - start for start, stop in held)
        return held
