"""Any sequence of changes leaves the Dicts and Queues of every store as a plain model says, also over restarts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings, strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from squall.model.ids import LaneId, SharedId
from squall.model.shared import Bounds, SharedKind
from squall.state.sharing.records import (
    Answer,
    Change,
    Clear,
    GiveBack,
    Page,
    PopEntry,
    PutEntries,
    PutItems,
    Said,
    SharedRecord,
    TakeItems,
    Turn,
)
from tests.postgres import Postgres
from tests.property.store_machine import InMemory, InPostgres, InSqlite, Record, StoreMachine

DICT, QUEUE = SharedId("di-1"), SharedId("qu-1")
BOUNDS = Bounds(entries=4, size_bytes=40, partitions=2)
TTL_S = 10.0
PAGE = Page(most=100, most_bytes=10_000)
lanes = st.sampled_from(["la-a", "la-b"])
keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
values = st.sampled_from([b"", b"1", b"22", b"x" * 15])
parts = st.sampled_from(["", "p", "q"])


@dataclass
class Part:
    """A partition as a person would keep it on paper: items with their places, and when it ends."""

    items: list[tuple[int, bytes]] = field(default_factory=list)
    last: int = 0
    ends_s: float = 0.0


@dataclass
class Paper:
    """A Dict and a Queue, the same way."""

    entries: dict[bytes, bytes] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    now_s: float = 100.0

    def live(self) -> dict[str, Part]:
        return {name: part for name, part in self.parts.items() if part.ends_s > self.now_s}


class SharingMachine(StoreMachine):
    """Changes, sent once, again or given back, and restarts, of a store beside the paper."""

    def __init__(self) -> None:
        super().__init__()
        self.paper = Paper()
        self.numbers = dict.fromkeys(["la-a", "la-b"], 0)
        self.last: dict[str, tuple[Change, Answer, Part | None, list[tuple[int, bytes]]]] = {}
        for kind, of in ((SharedKind.DICT, DICT), (SharedKind.QUEUE, QUEUE)):
            self.run(self.store.open_shared(SharedRecord(id=of, kind=kind, name="n", created_s=1.0), most=9))

    def turn(self, lane: str) -> Turn:
        self.numbers[lane] += 1
        return Turn(lane=LaneId(lane), number=self.numbers[lane], at_s=self.paper.now_s)

    def send(
        self,
        change: Change,
        answer: Answer,
        part: Part | None = None,
        taken: list[tuple[int, bytes]] | None = None,
    ) -> None:
        """Sends a change that must be answered so. What is refused or finds nothing is not remembered."""
        assert self.run(self.store.change_shared(change)) == answer
        if answer.said is Said.DONE and not (isinstance(change, TakeItems) and not answer.count):
            self.last[change.turn.lane] = change, answer, part, taken or []

    @rule(lane=lanes, entries=st.dictionaries(keys, values, max_size=3), only_new=st.booleans())
    def somebody_puts_entries(self, lane: str, entries: dict[bytes, bytes], only_new: bool) -> None:
        before = self.paper.entries
        after = {**entries, **before} if only_new else {**before, **entries}
        full = (len(after) > BOUNDS.entries and len(after) > len(before)) or (
            size_of(after) > BOUNDS.size_bytes and size_of(after) > size_of(before)
        )
        change = PutEntries(
            of=DICT, turn=self.turn(lane), entries=[*entries.items()], bounds=BOUNDS, only_new=only_new
        )
        self.send(change, Answer(said=Said.FULL) if full else Answer(count=len(after) - len(before)))
        if not full:
            self.paper.entries = after

    @rule(lane=lanes, key=keys)
    def somebody_pops_an_entry(self, lane: str, key: bytes) -> None:
        found = (self.paper.entries.pop(key),) if key in self.paper.entries else ()
        self.send(PopEntry(of=DICT, turn=self.turn(lane), key=key), Answer(count=len(found), values=found))

    @rule(lane=lanes, put=st.lists(values, min_size=1, max_size=3), name=parts)
    def somebody_puts_items(self, lane: str, put: list[bytes], name: str) -> None:
        live = self.paper.live()
        part = live.get(name, Part())
        full = (
            len(part.items) + len(put) > BOUNDS.entries
            or sum(len(value) for _, value in part.items) + sum(map(len, put)) > BOUNDS.size_bytes
        )
        answer = Answer(count=len(put))
        if full:
            answer = Answer(said=Said.FULL, free_s=part.ends_s if name in live else None)
        elif name not in live and len(live) >= BOUNDS.partitions:
            answer = Answer(said=Said.FULL)
        change = PutItems(
            of=QUEUE, turn=self.turn(lane), values=put, bounds=BOUNDS, partition=name, ttl_s=TTL_S
        )
        self.send(change, answer)
        if answer.said is Said.DONE:
            part.items += enumerate(put, part.last + 1)
            part.last += len(put)
            part.ends_s = self.paper.now_s + TTL_S
            self.paper.parts[name] = part

    @rule(lane=lanes, most=st.integers(1, 3), name=parts)
    def somebody_takes_items(self, lane: str, most: int, name: str) -> None:
        part = self.paper.live().get(name, Part())
        taken, part.items = part.items[:most], part.items[most:]
        answer = Answer(count=len(taken), values=tuple(value for _, value in taken))
        change = TakeItems(of=QUEUE, turn=self.turn(lane), most=most, most_bytes=1000, partition=name)
        self.send(change, answer, part, taken)

    @rule(lane=lanes)
    def an_answer_is_lost_and_the_change_is_sent_again(self, lane: str) -> None:
        if lane in self.last and self.last[lane][0].turn.number == self.numbers[lane]:
            change, answer, _, _ = self.last[lane]
            assert self.run(self.store.change_shared(change)) == answer

    @rule(lane=lanes)
    def a_change_comes_late(self, lane: str) -> None:
        if lane in self.last and self.last[lane][0].turn.number > 1:
            change = self.last[lane][0]
            late = replace(change, turn=replace(change.turn, number=change.turn.number - 1))
            assert self.run(self.store.change_shared(late)).said is Said.STALE

    @rule(lane=lanes)
    def what_was_taken_is_given_back(self, lane: str) -> None:
        turn = Turn(lane=LaneId(lane), number=self.numbers[lane], at_s=self.paper.now_s)
        count = 0
        known = self.last.get(lane)
        if known is not None and known[0].turn.number == turn.number:
            change, _, part, taken = known
            # One that has ended and was not replaced has its rows still, and nobody sees them.
            if part is not None and taken and part in self.paper.parts.values():
                part.items = sorted(part.items + taken)
                count = len(taken)
                if part.ends_s <= self.paper.now_s:
                    count = self.run(self.store.change_shared(GiveBack(of=QUEUE, turn=turn))).count
                    self.last[lane] = change, Answer(), None, []
                    return
            if taken:
                self.last[lane] = change, Answer(), None, []
        elif turn.number:
            self.last[lane] = Clear(of=DICT, turn=turn), Answer(), None, []
        if turn.number:
            assert self.run(self.store.change_shared(GiveBack(of=QUEUE, turn=turn))) == Answer(count=count)

    @rule(lane=lanes, name=st.none() | parts)
    def somebody_clears_the_queue(self, lane: str, name: str | None) -> None:
        live = self.paper.live()
        gone = [part for part in live if name in {None, part}]
        count = sum(len(live[part].items) for part in gone)
        self.send(Clear(of=QUEUE, turn=self.turn(lane), partition=name), Answer(count=count))
        for part in [part for part in self.paper.parts if name in {None, part}]:
            del self.paper.parts[part]

    @rule(lane=lanes)
    def somebody_clears_the_dict(self, lane: str) -> None:
        self.send(Clear(of=DICT, turn=self.turn(lane)), Answer(count=len(self.paper.entries)))
        self.paper.entries = {}

    @rule(passed_s=st.sampled_from([1.0, 6.0]))
    def time_passes(self, passed_s: float) -> None:
        self.paper.now_s += passed_s

    @rule()
    def what_nobody_reaches_is_tidied(self) -> None:
        while self.run(self.store.tidy_shared(now_s=self.paper.now_s, lanes_before_s=0.0)):
            pass
        self.paper.parts = self.paper.live()

    @invariant()
    def all_is_as_on_paper(self) -> None:
        entries = self.run(self.store.entries(DICT, after=b"", page=PAGE))
        assert entries == tuple(sorted(self.paper.entries.items()))
        live = self.paper.live()
        for name in ("", "p", "q"):
            items = self.run(self.store.items(QUEUE, name, after=0, page=PAGE, now_s=self.paper.now_s))
            known = live.get(name, Part()).items
            assert [(item.no, item.value) for item in items] == known
            assert self.run(self.store.shared_size(QUEUE, name, now_s=self.paper.now_s)) == len(known)
        sizes = self.run(self.store.shared_objects(SharedKind.QUEUE, now_s=self.paper.now_s))
        assert [(one.entries, one.partitions) for one in sizes] == [
            (sum(len(part.items) for part in live.values()), len(live))
        ]
        assert sizes[0].size_bytes == sum(len(value) for part in live.values() for _, value in part.items)
        dicts = self.run(self.store.shared_objects(SharedKind.DICT, now_s=self.paper.now_s))
        assert dicts[0].size_bytes == size_of(self.paper.entries)


def size_of(entries: dict[bytes, bytes]) -> int:
    return sum(len(key) + len(value) for key, value in entries.items())


class MemoryMachine(SharingMachine):
    def make(self) -> Record:
        return InMemory()


class SqliteMachine(SharingMachine):
    def make(self) -> Record:
        return InSqlite()


def test_a_memory_state_keeps_shared_objects_as_the_model_says() -> None:
    run_state_machine_as_test(
        MemoryMachine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )


def test_an_sqlite_state_keeps_shared_objects_as_the_model_says_also_over_restarts() -> None:
    run_state_machine_as_test(
        SqliteMachine, settings=settings(max_examples=25, stateful_step_count=30, deadline=None)
    )


def test_a_postgres_state_keeps_shared_objects_as_the_model_says_also_over_restarts(
    postgres: Postgres,
) -> None:
    class PostgresMachine(SharingMachine):
        def make(self) -> Record:
            return InPostgres(postgres)

    run_state_machine_as_test(
        PostgresMachine, settings=settings(max_examples=10, stateful_step_count=20, deadline=None)
    )
