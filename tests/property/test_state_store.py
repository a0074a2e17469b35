"""Any sequence of writes leaves every store as a plain model says, also over restarts."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings, strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.errors import CallConflict
from squall.model.ids import CallId, FunctionId, NamingId
from squall.state.records import CallRecord, InputChunk, Naming, OutcomeRecord
from tests.postgres import Postgres
from tests.property.store_machine import InMemory, InPostgres, InSqlite, Record, StoreMachine

MOST = 12
names = st.sampled_from(["fc-a", "fc-b", "fc-c"])
indexes = st.integers(0, MOST - 1)
starts = st.integers(0, MOST - 1)
lengths = st.integers(1, 5)
IMAGE_NAMES = ("base:1", "base:latest")
image_names = st.sampled_from(IMAGE_NAMES)
keys = st.sampled_from(["a" * 64, "b" * 64, ""])


@dataclass
class Plain:
    """One call as a person would keep it on paper."""

    inputs: int | None
    said: dict[int, bytes] = field(default_factory=dict)
    ended: dict[int, bytes] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    tried: dict[int, int] = field(default_factory=dict)
    state: CallState = CallState.OPEN
    ended_s: float | None = None


@dataclass
class Named:
    """One name of an image, the same way: its namings with their keys, in order, and when it was deleted."""

    namings: list[tuple[str, str]] = field(default_factory=list)
    deleted_s: float | None = None


class WritingMachine(StoreMachine):
    """Writes, sent once or again, and restarts, of a store beside the plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Plain] = {}
        self.named: dict[str, Named] = {}
        self.written = 0

    @rule(name=names, start=starts, count=lengths, inputs=st.none() | st.integers(0, MOST + 4))
    def a_client_sends_inputs(self, name: str, start: int, count: int, inputs: int | None) -> None:
        self.written += 1
        parts = [b"%d.%d" % (self.written, index) for index in range(start, start + count)]
        chunk = InputChunk(start=start, lengths=tuple(map(len, parts)), payload=b"".join(parts))
        self.record(name, inputs, [chunk], dict(zip(range(start, start + count), parts, strict=True)))

    @rule(name=names, inputs=st.integers(0, MOST + 4))
    def a_client_says_how_many(self, name: str, inputs: int) -> None:
        self.record(name, inputs, [], {})

    def record(self, name: str, inputs: int | None, chunks: list[InputChunk], said: dict[int, bytes]) -> None:
        call = CallRecord(
            id=CallId(name), function=FunctionId("fu"), verb=Verb.SPAWN_MAP, created_s=1.0, inputs=inputs
        )
        plain = self.model.get(name, Plain(None))
        total = inputs if plain.inputs is None else plain.inputs
        refused = plain.state is CallState.OPEN and (
            (inputs is not None and inputs != total)
            or (total is not None and max([*plain.said, *said], default=-1) >= total)
        )
        try:
            self.run(self.store.record_call(call, chunks))
            assert not refused
        except CallConflict:
            assert refused
            return
        if plain.state is not CallState.OPEN:
            return
        self.model[name] = plain
        plain.inputs = total
        plain.said = {**said, **plain.said}
        if total is not None and len(plain.ended) >= total:
            plain.state, plain.ended_s = CallState.ENDED, 1.0 if not plain.ended else 2.0

    @rule(
        name=names,
        places=st.lists(indexes, min_size=1, max_size=5),
        kind=st.sampled_from([OutcomeKind.RETURNED, OutcomeKind.RETURNED, OutcomeKind.RAISED]),
        attempt=st.integers(1, 3),
    )
    def containers_answer(self, name: str, places: list[int], kind: OutcomeKind, attempt: int) -> None:
        self.written += 1
        items = [
            OutcomeRecord(
                index=place,
                attempt=attempt,
                kind=kind,
                ended_s=2.0,
                payload=b"%d.%d" % (self.written, number),
            )
            for number, place in enumerate(places)
        ]
        plain = self.model.get(name, Plain(None))
        won = []
        if plain.state is CallState.OPEN:
            for item in items:
                late = attempt <= plain.tried.get(item.index, 0)
                if not late and item.index in plain.said and item.index not in plain.ended:
                    plain.ended[item.index] = bytes(item.payload)
                    won.append(item.index)
                    if kind is OutcomeKind.RAISED:
                        plain.dead.add(item.index)
                        plain.tried[item.index] = attempt
        assert self.run(self.store.record_outcomes(CallId(name), items)) == tuple(won)
        if won and len(plain.ended) == plain.inputs:
            plain.state, plain.ended_s = CallState.ENDED, 2.0

    @rule(name=names, which=st.none() | st.lists(indexes, max_size=4))
    def dead_letters_are_replayed(self, name: str, which: list[int] | None) -> None:
        plain = self.model.get(name, Plain(None))
        again = sorted(plain.dead if which is None else plain.dead.intersection(which))
        if plain.state is not CallState.ENDED:
            again = []
        assert self.run(self.store.replay(CallId(name), indexes=which)) == tuple(again)
        for index in again:
            del plain.ended[index]
            plain.dead.discard(index)
        if again:
            plain.state, plain.ended_s = CallState.OPEN, None

    @rule(name=names)
    def a_client_cancels(self, name: str) -> None:
        plain = self.model.get(name)
        was_open = plain is not None and plain.state is CallState.OPEN
        cancelled = self.store.end_call(CallId(name), state=CallState.CANCELLED, at_s=3.0)
        assert self.run(cancelled) == was_open
        if plain is not None and was_open:
            plain.state, plain.ended_s = CallState.CANCELLED, 3.0

    @rule(before_s=st.sampled_from([1.5, 2.5, 3.5]))
    def time_passes(self, before_s: float) -> None:
        gone = [
            name
            for name, plain in self.model.items()
            if plain.ended_s is not None and plain.ended_s < before_s
        ]
        unnamed = [
            name for name, one in self.named.items() if one.deleted_s is not None and one.deleted_s < before_s
        ]
        swept = self.run(self.store.sweep(ended_before_s=before_s))
        assert (swept.calls, swept.names) == (len(gone), len(unnamed))
        for name in gone:
            del self.model[name]
        for name in unnamed:
            del self.named[name]

    @rule(name=image_names, key=keys, at_s=st.sampled_from([1.0, 2.0]))
    def an_image_is_named_or_a_name_deleted(self, name: str, key: str, at_s: float) -> None:
        self.written += 1
        one = self.named.get(name, Named())
        new = key != (one.namings[-1][1] if one.namings else "")
        self.name(Naming(id=NamingId(f"na-{self.written}"), name=name, key=key, at_s=at_s), new=new)
        if new:
            one.namings.append((f"na-{self.written}", key))
            one.deleted_s = None if key else at_s
            self.named[name] = one

    @rule(name=image_names, key=keys, data=st.data())
    def a_naming_is_sent_again(self, name: str, key: str, data: st.DataObject) -> None:
        sent = [known for one in self.named.values() for known, _ in one.namings]
        if sent:
            known = NamingId(data.draw(st.sampled_from(sent)))
            self.name(Naming(id=known, name=name, key=key, at_s=3.0), new=False)

    def name(self, naming: Naming, *, new: bool) -> None:
        assert self.run(self.store.record_naming(naming)) == new

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        for name, plain in self.model.items():
            call = self.run(self.store.call(CallId(name)))
            assert call is not None
            assert (call.inputs, call.done, call.state, call.ended_s) == (
                plain.inputs,
                len(plain.ended),
                plain.state,
                plain.ended_s,
            )
            said = {
                chunk.start + place: part
                for chunk in self.run(self.store.inputs(CallId(name), start=0, stop=99))
                for place, part in enumerate(chunk.each())
            }
            assert said == plain.said
            outcomes = self.run(self.store.outcomes(CallId(name), start=0, stop=99))
            assert {one.index: bytes(one.payload) for one in outcomes} == plain.ended
            dead = self.run(self.store.dead_letters(call=CallId(name)))
            assert [one.index for one in dead] == sorted(plain.dead)
        still_open = {
            str(one.call.id): {index for start, stop in one.missing for index in range(start, stop)}
            for one in self.run(self.store.open_calls())
        }
        assert still_open == {
            name: plain.said.keys() - plain.ended.keys()
            for name, plain in self.model.items()
            if plain.state is CallState.OPEN
        }
        assert {one.name: one.key for one in self.run(self.store.image_names())} == {
            name: one.namings[-1][1] for name, one in self.named.items() if one.namings[-1][1]
        }
        for name in IMAGE_NAMES:
            kept = [(one.id, one.key) for one in self.run(self.store.namings(name))]
            assert kept[::-1] == (self.named[name].namings if name in self.named else [])


class MemoryMachine(WritingMachine):
    def make(self) -> Record:
        return InMemory()


class SqliteMachine(WritingMachine):
    def make(self) -> Record:
        return InSqlite()


TestMemoryState = MemoryMachine.TestCase
TestMemoryState.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSqliteState = SqliteMachine.TestCase
TestSqliteState.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_postgres_state(postgres: Postgres) -> None:
    class PostgresMachine(WritingMachine):
        def make(self) -> Record:
            return InPostgres(postgres)

    run_state_machine_as_test(
        PostgresMachine, settings=settings(max_examples=15, stateful_step_count=20, deadline=None)
    )
