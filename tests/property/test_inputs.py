"""Whatever happens to containers, calls and clocks: every input is in one place, and ends once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, reject, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from squall.model.container import ContainerEnd
from squall.model.ids import CallId, ContainerId
from squall.scheduling.inputs import FunctionLine, Segment
from squall.scheduling.loss import End, Suspect, plan_loss

CALLS = [CallId(name) for name in ("fc-a", "fc-b", "fc-c")]
CONTAINERS = [ContainerId(name) for name in ("co-1", "co-2", "co-3")]
ENDS = [
    ContainerEnd(cause="killed"),
    ContainerEnd(cause="oom"),
    ContainerEnd(cause="exit", code=1),
    ContainerEnd(cause="signal", signal=9),
    ContainerEnd(cause="signal", signal=11),
]
calls = st.sampled_from(CALLS)
containers = st.sampled_from(CONTAINERS)


@dataclass
class Model:
    """One input, one word: where it is. A lease says in which attempt, and to whom."""

    where: dict[int, tuple[str, int, ContainerId | None]] = field(default_factory=dict)
    total: int | None = None
    outcomes: dict[int, int] = field(default_factory=dict)


class LifeOfInputs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.line = FunctionLine()
        self.model: dict[CallId, Model] = {}
        self.kills: dict[tuple[CallId, int], int] = {}
        self.first: dict[CallId, int] = {}
        self.tried: dict[CallId, int] = {}

    # -- events

    @rule(call=calls, count=st.integers(0, 12), again=st.integers(0, 3), last=st.booleans())
    def submit(self, call: CallId, count: int, again: int, last: bool) -> None:
        known = self.model.get(call, Model())
        start = max(0, len(known.where) - again)
        total = start + count if last and start + count >= len(known.where) else None
        if known.total is not None and (start + count > known.total or total not in {None, known.total}):
            with pytest.raises(ValueError):
                self.line.submit(call, start=start, count=count, total=total)
            return
        fresh = self.line.submit(call, start=start, count=count, total=total)
        assert fresh == max(0, start + count - len(known.where))
        first = self.begin(call)
        for index in range(len(known.where), start + count):
            known.where[index] = ("waiting", first, None)
        known.total = known.total if total is None else total
        self.model[call] = known

    @rule(call=calls, count=st.integers(1, 5))
    def skip(self, call: CallId, count: int) -> None:
        known = self.model.get(call, Model())
        start = len(known.where)
        if known.total is not None and start + count > known.total:
            return
        self.line.skip(call, start=start, count=count)
        self.begin(call)
        for index in range(start, start + count):
            known.where[index] = ("ended", 0, None)
        self.model[call] = known

    @rule(call=calls, gap=st.integers(1, 5))
    def inputs_out_of_order_change_nothing(self, call: CallId, gap: int) -> None:
        start = len(self.model.get(call, Model()).where) + gap
        with pytest.raises(ValueError):
            self.line.submit(call, start=start, count=1, total=None)

    @rule(container=containers, most=st.integers(0, 9))
    def take(self, container: ContainerId, most: int) -> None:
        had = self.line.held(container)
        lease = self.line.take(container, most)
        if lease is None:
            return
        assert 0 < lease.count <= most
        if any(part.alone for part in lease.segments):
            assert not had
            assert lease.count == 1
        assert not any(part.alone for part in had)
        for part in lease.segments:
            for index in range(part.start, part.stop):
                assert self.model[part.call].where[index] == ("waiting", part.attempt, None)
                self.model[part.call].where[index] = ("leased", part.attempt, container)

    @rule(data=st.data())
    def finish_any_part_in_any_order(self, data: st.DataObject) -> None:
        container, part = self.some_held(data)
        ended = list(self.line.finish(container, part))
        assert ended == [(part.start, part.stop)]
        self.note_ended(part.call, ended)

    @rule(data=st.data(), container=containers, late=st.integers(0, 3))
    def a_late_or_stolen_outcome_does_not_count(
        self, data: st.DataObject, container: ContainerId, late: int
    ) -> None:
        call = data.draw(calls)
        start = data.draw(st.integers(0, 15))
        attempt = self.first.get(call, 1) + late
        part = Segment(call, start, start + data.draw(st.integers(1, 6)), attempt)
        known = self.model.get(call, Model())
        counts = [
            index
            for index in range(part.start, part.stop)
            if known.where.get(index) == ("leased", part.attempt, container)
        ]
        fenced = self.line.fenced
        ended = list(self.line.finish(container, part))
        assert [index for low, high in ended for index in range(low, high)] == counts
        assert self.line.fenced - fenced == len(part) - len(counts)
        self.note_ended(call, ended)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        container, part = self.some_held(data)
        assert self.line.give_back(container, part) == len(part)
        self.note(part, "waiting", part.attempt)

    @rule(data=st.data())
    def put_off(self, data: st.DataObject) -> None:
        container, part = self.some_held(data)
        one = Segment(part.call, part.start, part.start + 1, part.attempt, part.alone)
        if self.line.put_off(container, one):
            self.note(one, "delayed", one.attempt)
        assert not self.line.put_off(container, one)

    @rule(data=st.data(), twice=st.booleans())
    def again(self, data: st.DataObject, twice: bool) -> None:
        delayed = [
            Segment(call, index, index + 1, attempt)
            for call, known in self.model.items()
            for index, (place, attempt, _) in known.where.items()
            if place == "delayed"
        ]
        if not delayed:
            return
        one = data.draw(st.sampled_from(delayed))
        self.line.again(one)
        if twice:
            self.line.again(one)
        self.note(one, "waiting", one.attempt + 1)

    @rule(container=containers, end=st.sampled_from(ENDS), losses=st.integers(0, 12), timed_out=st.booleans())
    def lose(self, container: ContainerId, end: ContainerEnd, losses: int, timed_out: bool) -> None:
        lost = [part for part in self.line.held(container) if self.line.is_current(part)]
        first = (lost[0].call, lost[0].start) if lost else (CALLS[0], -1)
        kills = self.kills[first] = self.kills.get(first, 0) + 1
        suspect = Suspect(kills=kills, losses=losses, timed_out_s=1.0 if timed_out else None)
        for step in reversed(plan_loss(lost, end, suspect, function="f")):
            if isinstance(step, End):
                self.note_ended(step.part.call, list(self.line.finish(container, step.part)))
            else:
                self.line.requeue(container, step.part, alone=step.alone)
                self.note(step.part, "waiting", step.part.attempt + 1)
        self.line.leave(container)
        assert not self.line.held(container)

    @rule(container=containers)
    def leave_without_a_plan(self, container: ContainerId) -> None:
        for part in self.line.held(container):
            if self.line.is_current(part):
                self.note(part, "waiting", part.attempt)
        self.line.leave(container)

    @rule(
        container=containers,
        call=calls,
        start=st.integers(0, 15),
        count=st.integers(1, 9),
        attempt=st.integers(1, 3),
    )
    def adopt(self, container: ContainerId, call: CallId, start: int, count: int, attempt: int) -> None:
        # What containers say that they hold is of this server's time, or of one that knew of no dropped call.
        attempt += self.first.get(call, 1) - 1
        known = self.model.get(call, Model())
        part = Segment(call, start, start + count, attempt)
        places = {index: known.where.get(index, ("", 0, None)) for index in range(start, start + count)}
        free = [i for i, (place, tried, _) in places.items() if place == "waiting" and tried <= attempt]
        assert self.line.adopt(container, part) == len(free)
        for index in free:
            known.where[index] = ("leased", attempt, container)

    @rule(call=calls)
    def rest(self, call: CallId) -> None:
        count = self.line.rest(call)
        line = self.line.calls.get(call)
        if line is None:
            assert count == 0
            return
        assert count == sum(map(len, line.resting))
        # What was tried, and is to be tried again, is given out; the rest is not.
        assert all(part.attempt != line.first for part in line.waiting)

    @rule()
    def wake(self) -> None:
        self.line.wake()
        assert self.line.resting == 0

    @rule(call=calls)
    def drop(self, call: CallId) -> None:
        known = self.model.pop(call, Model())
        working = self.line.drop(call)
        leased = {index for index, (place, _, _) in known.where.items() if place == "leased"}
        assert {index for _, part in working for index in range(part.start, part.stop)} == leased
        # What is still in hand of a dropped call stays so until its container has said what became of it.
        in_hand = [part.attempt for _, part in self.all_held() if part.call == call]
        self.tried[call] = max(in_hand, default=0)
        self.first.pop(call, None)
        for key in [key for key in self.kills if key[0] == call]:
            del self.kills[key]

    @rule(data=st.data(), how=st.sampled_from(["finish", "give back", "requeue", "put off"]))
    def what_was_dropped_does_not_count_though_its_call_has_come_again(
        self, data: st.DataObject, how: str
    ) -> None:
        stale = [(container, part) for container, part in self.all_held() if not self.line.is_current(part)]
        if not stale:
            return
        container, part = data.draw(st.sampled_from(stale))
        match how:
            case "finish":
                assert not list(self.line.finish(container, part))
            case "give back":
                self.line.give_back(container, part)
            case "requeue":
                self.line.requeue(container, part)
            case _:
                one = Segment(part.call, part.start, part.start + 1, part.attempt, part.alone)
                assert not self.line.put_off(container, one)
        assert not any(mine == part for _, mine in self.all_held())

    # -- the two rules, and the counters

    @invariant()
    def every_input_is_in_exactly_one_place(self) -> None:
        for call, known in self.model.items():
            line = self.line.calls[call]
            seen: dict[int, tuple[str, int, ContainerId | None]] = {}
            for part in (*line.waiting, *line.resting):
                assert len(part) > 0
                self.see(seen, part, ("waiting", part.attempt, None))
            for container in CONTAINERS:
                for part in self.line.held(container):
                    if part.call == call and self.line.is_current(part):
                        self.see(seen, part, ("leased", part.attempt, container))
            for index, ended in enumerate(line.ended):
                if ended:
                    assert index not in seen
                    seen[index] = ("ended", 0, None)
            for index in line.delayed:
                assert index not in seen
                seen[index] = ("delayed", known.where[index][1], None)
            assert seen == known.where
            assert line.submitted == len(known.where) == len(line.ended)
            assert line.ended_count == sum(place == "ended" for place, _, _ in known.where.values())
            assert line.done == (known.total is not None and line.ended_count == known.total)

    @invariant()
    def counters_are_exact(self) -> None:
        places = [place for known in self.model.values() for place, _, _ in known.where.values()]
        assert self.line.waiting + self.line.resting == places.count("waiting")
        resting = [part for line in self.line.calls.values() for part in line.resting]
        assert self.line.resting == sum(map(len, resting))
        stale = [len(part) for _, part in self.all_held() if not self.line.is_current(part)]
        assert self.line.leased == places.count("leased") + sum(stale)
        for line in self.line.calls.values():
            assert line.waiting_count == sum(map(len, line.waiting))

    @invariant()
    def no_input_ends_twice(self) -> None:
        assert all(count == 1 for known in self.model.values() for count in known.outcomes.values())

    @invariant()
    def every_call_that_waits_has_its_turn(self) -> None:
        waiting = [call for call, line in self.line.calls.items() if line.waiting]
        assert sorted(self.line._turns) == sorted(waiting)

    @precondition(lambda self: self.line.waiting)
    @rule()
    def an_empty_container_always_gets_something(self) -> None:
        fresh = ContainerId("co-fresh")
        lease = self.line.take(fresh, 4)
        assert lease is not None
        self.line.leave(fresh)

    # -- helpers

    def begin(self, call: CallId) -> int:
        """The number of a call's first attempts, after those that were in hand when it was dropped."""
        if call not in self.first:
            self.first[call] = self.line.calls[call].first
            assert self.first[call] > self.tried.pop(call, 0)
        return self.first[call]

    def all_held(self) -> list[tuple[ContainerId, Segment]]:
        return [(container, part) for container in CONTAINERS for part in self.line.held(container)]

    def some_held(self, data: st.DataObject) -> tuple[ContainerId, Segment]:
        """Some of what some container holds; nothing real when nobody holds anything."""
        held = [(container, part) for container, part in self.all_held() if self.line.is_current(part)]
        if not held:
            reject()
        container, part = data.draw(st.sampled_from(held))
        start = data.draw(st.integers(part.start, part.stop - 1))
        stop = data.draw(st.integers(start + 1, part.stop))
        return container, Segment(part.call, start, stop, part.attempt, part.alone)

    def note(self, part: Segment, place: str, attempt: int) -> None:
        known = self.model.get(part.call)
        if known is not None:
            for index in range(part.start, part.stop):
                known.where[index] = (place, attempt, None)

    def note_ended(self, call: CallId, runs: list[tuple[int, int]]) -> None:
        for start, stop in runs:
            for index in range(start, stop):
                self.model[call].where[index] = ("ended", 0, None)
                self.model[call].outcomes[index] = self.model[call].outcomes.get(index, 0) + 1

    def see(
        self,
        seen: dict[int, tuple[str, int, ContainerId | None]],
        part: Segment,
        what: tuple[str, int, ContainerId | None],
    ) -> None:
        for index in range(part.start, part.stop):
            assert index not in seen, f"input {index} is in two places"
            seen[index] = what


TestLifeOfInputs = LifeOfInputs.TestCase
TestLifeOfInputs.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(counts=st.lists(st.integers(1, 6), min_size=2, max_size=3), most=st.integers(1, 4))
def test_calls_take_turns(counts: list[int], most: int) -> None:
    line = FunctionLine()
    for call, count in zip(CALLS, counts, strict=False):
        line.submit(call, start=0, count=count, total=count)
    first = [line.take(ContainerId(f"co-{turn}"), most) for turn in range(len(counts))]
    assert [lease.segments[0].call for lease in first if lease is not None][:2] == CALLS[:2] or most > counts[
        0
    ]
    # Nobody is passed over: every call has something in hand before any of them has a second turn.
    heads = [part.call for lease in first if lease is not None for part in lease.segments]
    assert set(heads) == set(CALLS[: len(counts)])


@given(st.data())
def test_what_waited_before_stands_before_what_has_not(data: st.DataObject) -> None:
    line = FunctionLine()
    count = data.draw(st.integers(2, 9))
    line.submit(CALLS[0], start=0, count=count, total=count)
    line.take(CONTAINERS[0], data.draw(st.integers(1, count - 1)))
    for part in reversed(line.held(CONTAINERS[0])):
        line.give_back(CONTAINERS[0], part)
    order = []
    while (lease := line.take(CONTAINERS[1], 1)) is not None:
        order += [part.start for part in lease.segments]
    assert order == list(range(count))


@given(first=st.integers(1, 5), most=st.integers(1, 9))
def test_what_must_be_alone_never_shares_a_container(first: int, most: int) -> None:
    line = FunctionLine()
    call, (one, two, _) = CALLS[0], CONTAINERS
    line.submit(call, start=0, count=first + 1, total=first + 1)
    line.take(one, 1)
    line.requeue(one, Segment(call, 0, 1), alone=True)
    line.leave(one)
    line.adopt(two, Segment(call, first, first + 1))
    assert line.take(two, most) is None, "it is given to a container that has something in hand"
    lease = line.take(one, most)
    assert lease is not None
    assert lease.segments == [Segment(call, 0, 1, 2, alone=True)]
    assert line.take(one, most) is None, "something is put beside it"
