"""State store conformance: what every implementation of StateStore must do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.errors import CallConflict, StoreClosed
from squall.model.ids import AppId, CallId, ContainerId, FunctionId
from squall.state.records import (
    AppKind,
    AppRecord,
    AppState,
    CallRecord,
    ContainerRecord,
    FunctionRecord,
    InputChunk,
    LayerRecord,
    LayerState,
    OpenCall,
    OutcomeRecord,
    Swept,
)
from squall.state.state_store import StateStore

E = TypeVar("E", bound=BaseException)

Check = Callable[[StateStore], Awaitable[None]]

_FUNCTION: Final = FunctionId("fu-1")
_CALL: Final = CallRecord(
    id=CallId("fc-the"), function=_FUNCTION, verb=Verb.SPAWN_MAP, created_s=5.0, inputs=10
)


def chunk(start: int, stop: int, fill: bytes = b"") -> InputChunk:
    """Inputs [start, stop), each of which says its index."""
    inputs = [b"%d%s" % (index, fill) for index in range(start, stop)]
    return InputChunk(start=start, lengths=tuple(map(len, inputs)), payload=b"".join(inputs))


def outcome(index: int, *, said: bytes = b"", kind: OutcomeKind = OutcomeKind.RETURNED) -> OutcomeRecord:
    """The first attempt's outcome of an input, at an instant that its index tells."""
    return OutcomeRecord(index=index, attempt=1, kind=kind, ended_s=100.0 + index, payload=said)


async def apps_are_kept_until_they_end(store: StateStore) -> None:
    first = AppRecord(id=AppId("ap-1"), name="one", kind=AppKind.EPHEMERAL, created_s=1.0, owner="client")
    second = AppRecord(id=AppId("ap-2"), name="two", kind=AppKind.DEPLOYED, created_s=2.0)
    functions = [
        FunctionRecord(id=FunctionId(f"fu-{name}"), app=first.id, name=name, definition='{"a": 1}')
        for name in ("g", "f")
    ]
    await store.record_app(second)
    await store.record_app(first, functions)
    await store.record_app(first, functions)
    assert await store.apps() == (first, second)
    assert await store.functions(first.id) == (functions[1], functions[0])
    assert await store.functions(second.id) == ()
    assert await store.end_app(first.id, at_s=9.0)
    assert not await store.end_app(first.id, at_s=10.0)
    assert not await store.end_app(AppId("ap-3"), at_s=10.0)
    assert await store.apps() == (second,)
    ended = replace(first, state=AppState.STOPPED, ended_s=9.0)
    assert await store.apps(ended=True) == (ended, second)


async def a_call_is_kept_with_its_inputs(store: StateStore) -> None:
    blobs = {1: "d" * 64}
    inputs = InputChunk(start=0, lengths=(2, 0, 1), payload=b"abc", blobs=blobs, heads=('{"k":1}', "", "é"))
    call = replace(_CALL, inputs=3, head='{"method": "run"}')
    await store.record_call(call, [inputs])
    assert await store.call(call.id) == call
    assert await store.inputs(call.id, start=0, stop=3) == (inputs,)
    assert [one.each() for one in await store.inputs(call.id, start=0, stop=3)] == [[b"ab", b"", b"c"]]
    assert await store.inputs(call.id, start=1, stop=3) == (inputs.cut(1, 3),)
    assert await store.inputs(call.id, start=3, stop=9) == ()
    assert await store.inputs(CallId("fc-other"), start=0, stop=9) == ()
    assert await store.call(CallId("fc-other")) is None
    assert await store.blob_refs() == {"d" * 64}


async def a_call_of_no_inputs_has_ended(store: StateStore) -> None:
    await store.record_call(replace(_CALL, inputs=0))
    assert await store.call(_CALL.id) == replace(_CALL, inputs=0, state=CallState.ENDED, ended_s=5.0)
    assert await store.open_calls() == ()


async def only_durable_verbs_have_inputs_on_record(store: StateStore) -> None:
    for verb in (Verb.REMOTE, Verb.MAP):
        await _raised(ValueError, store.record_call(replace(_CALL, verb=verb)))
    assert await store.call(_CALL.id) is None


async def a_call_sent_twice_is_one_call(store: StateStore) -> None:
    for _ in range(3):
        await store.record_call(_CALL, [chunk(0, 4), chunk(4, 10)])
    assert await store.calls() == (_CALL,)
    assert await store.inputs(_CALL.id, start=0, stop=10) == (chunk(0, 4), chunk(4, 10))


async def inputs_cut_differently_are_the_same_inputs(store: StateStore) -> None:
    await store.record_call(_CALL, [chunk(2, 4), chunk(6, 7)])
    await store.record_call(_CALL, [chunk(0, 8, b"changed"), chunk(8, 10)])
    kept = [one for part in await store.inputs(_CALL.id, start=0, stop=10) for one in part.each()]
    assert kept == [
        b"0changed",
        b"1changed",
        b"2",
        b"3",
        b"4changed",
        b"5changed",
        b"6",
        b"7changed",
        b"8",
        b"9",
    ]


async def inputs_may_come_later_and_so_may_their_number(store: StateStore) -> None:
    growing = replace(_CALL, inputs=None)
    await store.record_call(growing, [chunk(0, 2)])
    assert await store.record_outcomes(_CALL.id, [outcome(0), outcome(1)]) == (0, 1)
    assert await store.open_calls() == (OpenCall(call=replace(growing, done=2), missing=()),)
    await store.record_call(growing, [chunk(2, 3)])
    await store.record_call(_with_inputs(3))
    assert await store.open_calls() == (OpenCall(call=replace(_with_inputs(3), done=2), missing=((2, 3),)),)
    await store.record_outcomes(_CALL.id, [outcome(2)])
    assert await store.open_calls() == ()


async def a_number_that_comes_last_ends_the_call(store: StateStore) -> None:
    await store.record_call(replace(_CALL, inputs=None), [chunk(0, 2)])
    await store.record_outcomes(_CALL.id, [outcome(1), outcome(0)])
    await store.record_call(_with_inputs(2))
    ended = await store.call(_CALL.id)
    assert ended == replace(_with_inputs(2), done=2, state=CallState.ENDED, ended_s=101.0)


async def another_call_under_the_same_id_is_refused(store: StateStore) -> None:
    await store.record_call(_CALL, [chunk(0, 2)])
    before = await _everything(store)
    for other in (
        replace(_CALL, function=FunctionId("fu-2")),
        replace(_CALL, verb=Verb.SPAWN),
        replace(_CALL, inputs=11),
        replace(_CALL, inputs=1),
    ):
        await _raised(CallConflict, store.record_call(other, [chunk(2, 4)]))
    await _raised(CallConflict, store.record_call(_CALL, [chunk(2, 4), chunk(9, 11)]))
    assert await _everything(store) == before


async def a_refused_call_is_not_on_record(store: StateStore) -> None:
    await _raised(CallConflict, store.record_call(_CALL, [chunk(0, 11)]))
    assert await store.call(_CALL.id) is None
    assert await store.inputs(_CALL.id, start=0, stop=20) == ()


async def the_first_outcome_counts(store: StateStore) -> None:
    await store.record_call(_CALL, [chunk(0, 10)])
    first = [outcome(3, said=b"first"), outcome(3, said=b"same batch"), outcome(5, said=b"five")]
    assert await store.record_outcomes(_CALL.id, first) == (3, 5)
    later = replace(outcome(3, said=b"later"), attempt=2)
    assert await store.record_outcomes(_CALL.id, [later, outcome(4)]) == (4,)
    assert await store.outcomes(_CALL.id, start=0, stop=10) == (first[0], outcome(4), first[2])
    assert await store.outcomes(_CALL.id, start=4, stop=5) == (outcome(4),)
    record = await store.call(_CALL.id)
    assert record is not None
    assert (record.done, record.state) == (3, CallState.OPEN)


async def an_outcome_keeps_all_that_it_carries(store: StateStore) -> None:
    await store.record_call(_with_inputs(3), [chunk(0, 3)])
    items = (
        OutcomeRecord(
            index=0, attempt=3, kind=OutcomeKind.RAISED, ended_s=7.5, head='{"t":"é"}', payload=b"\0"
        ),
        OutcomeRecord(index=1, attempt=1, kind=OutcomeKind.FAILED, ended_s=8.5, payload=b"x" * 100_000),
        OutcomeRecord(index=2, attempt=1, kind=OutcomeKind.RETURNED, ended_s=9.5, blob="e" * 64),
    )
    await store.record_outcomes(_CALL.id, items)
    assert await store.outcomes(_CALL.id, start=0, stop=3) == items
    ended = await store.call(_CALL.id)
    assert ended == replace(_with_inputs(3), done=3, failed=2, state=CallState.ENDED, ended_s=9.5)
    assert await store.blob_refs() == {"e" * 64}


async def the_last_outcome_ends_the_call(store: StateStore) -> None:
    await store.record_call(_with_inputs(3), [chunk(0, 3)])
    await store.record_outcomes(_CALL.id, [outcome(2), outcome(0)])
    (open_call,) = await store.open_calls()
    assert open_call.missing == ((1, 2),)
    await store.record_outcomes(_CALL.id, [outcome(1)])
    assert await store.open_calls() == ()
    ended = await store.call(_CALL.id)
    assert ended == replace(_with_inputs(3), done=3, state=CallState.ENDED, ended_s=101.0)


async def outcomes_of_what_is_not_on_record_are_dropped(store: StateStore) -> None:
    assert await store.record_outcomes(_CALL.id, [outcome(0)]) == ()
    await store.record_call(_CALL, [chunk(2, 4)])
    assert await store.record_outcomes(_CALL.id, [outcome(1), outcome(3), outcome(4), outcome(99)]) == (3,)
    assert await store.record_outcomes(_CALL.id, []) == ()
    assert await store.outcomes(_CALL.id, start=0, stop=100) == (outcome(3),)


async def a_call_that_has_ended_takes_nothing_more(store: StateStore) -> None:
    await store.record_call(_CALL, [chunk(0, 10)])
    await store.record_outcomes(_CALL.id, [outcome(0)])
    assert await store.end_call(_CALL.id, state=CallState.CANCELLED, at_s=50.0)
    assert not await store.end_call(_CALL.id, state=CallState.ENDED, at_s=60.0)
    assert not await store.end_call(CallId("fc-other"), state=CallState.ENDED, at_s=60.0)
    assert await store.record_outcomes(_CALL.id, [outcome(1)]) == ()
    await store.record_call(_CALL, [chunk(0, 10)])
    assert await store.open_calls() == ()
    assert await store.outcomes(_CALL.id, start=0, stop=10) == (outcome(0),)
    assert await store.call(_CALL.id) == replace(_CALL, done=1, state=CallState.CANCELLED, ended_s=50.0)
    await _raised(ValueError, store.end_call(_CALL.id, state=CallState.OPEN, at_s=70.0))


async def a_restart_knows_what_is_missing(store: StateStore) -> None:
    first, second = _named("fc-a", 6), _named("fc-b", 2)
    await store.record_call(first, [chunk(0, 4), chunk(4, 6)])
    await store.record_call(second, [chunk(0, 1)])
    await store.record_call(_named("fc-c", 1), [chunk(0, 1)])
    await store.record_outcomes(CallId("fc-c"), [outcome(0)])
    await store.record_outcomes(first.id, [outcome(1), outcome(4)])
    assert await store.open_calls() == (
        OpenCall(call=replace(first, done=2), missing=((0, 1), (2, 4), (5, 6))),
        OpenCall(call=second, missing=((0, 1),)),
    )
    other = replace(_named("fc-d", 1), function=FunctionId("fu-other"))
    await store.record_call(other, [chunk(0, 1)])
    assert await store.open_calls(function=other.function) == (OpenCall(call=other, missing=((0, 1),)),)
    assert len(await store.open_calls(function=_FUNCTION)) == 2
    assert await store.open_calls(function=FunctionId("fu-none")) == ()


async def a_large_call_is_recorded_in_few_rows(store: StateStore) -> None:
    count, step = 100_000, 5_000
    call = _with_inputs(count)
    chunks = [
        InputChunk(start=start, lengths=(1,) * step, payload=b"x" * step) for start in range(0, count, step)
    ]
    await store.record_call(call, chunks)
    (open_call,) = await store.open_calls()
    assert open_call.missing == ((0, count),)
    assert await store.inputs(call.id, start=7_001, stop=7_003) == (
        InputChunk(start=7_001, lengths=(1, 1), payload=b"xx"),
    )


async def many_writers_at_once_do_not_mix(store: StateStore) -> None:
    calls = [_named(f"fc-{number:03}", 5) for number in range(60)]
    await asyncio.gather(*(store.record_call(call, [chunk(0, 5)]) for call in calls))
    winners = await asyncio.gather(
        *(store.record_outcomes(call.id, [outcome(n % 5)]) for n, call in enumerate(calls)),
        *(store.record_outcomes(call.id, [outcome(n % 5)]) for n, call in enumerate(calls)),
    )
    for number in range(60):
        assert sorted([winners[number], winners[60 + number]]) == [(), (number % 5,)]
    assert {open_call.call.id for open_call in await store.open_calls()} == {call.id for call in calls}


async def one_writers_trouble_is_not_the_others(store: StateStore) -> None:
    await store.record_call(_CALL, [chunk(0, 1)])
    wrong = [store.record_call(replace(_CALL, inputs=11)) for _ in range(5)]
    right = [store.record_call(_named(f"fc-{number}", 1), [chunk(0, 1)]) for number in range(20)]
    pairs = [one for pair in zip(wrong, right[:5], strict=True) for one in pair]
    mixed = await asyncio.gather(*pairs, *right[5:], return_exceptions=True)
    assert [type(one) for one in mixed if one is not None] == [CallConflict] * 5
    assert len(await store.open_calls()) == 21


async def history_is_there_after_a_flush(store: StateStore) -> None:
    calls = [
        CallRecord(
            id=CallId(f"fc-{number:03}"),
            function=FunctionId(f"fu-{number % 2}"),
            verb=Verb.MAP,
            created_s=float(number),
            inputs=4,
            done=4,
            failed=1,
            state=CallState.ENDED,
            ended_s=number + 1.0,
        )
        for number in range(1200)
    ]
    store.history(calls)
    store.history([])
    await store.flush()
    assert store.history_lost == 0
    assert await store.calls(limit=2) == (calls[-1], calls[-2])
    assert await store.calls(function=FunctionId("fu-0"), limit=2) == (calls[-2], calls[-4])
    assert len(await store.calls(limit=5_000)) == 1200
    assert await store.call(calls[7].id) == calls[7]
    assert await store.open_calls() == ()


async def a_summary_may_be_written_again(store: StateStore) -> None:
    call = replace(_CALL, verb=Verb.REMOTE, inputs=1)
    store.history([call])
    store.history([replace(call, done=1, state=CallState.ENDED, ended_s=6.0)])
    await store.flush()
    assert await store.calls() == (replace(call, done=1, state=CallState.ENDED, ended_s=6.0),)
    assert await store.open_calls() == ()


async def the_history_does_not_touch_what_is_durable(store: StateStore) -> None:
    await store.record_call(_CALL, [chunk(0, 10)])
    store.history([replace(_CALL, verb=Verb.MAP, inputs=3, state=CallState.ENDED, ended_s=9.0)])
    await store.flush()
    assert await store.call(_CALL.id) == _CALL
    try:
        store.history([_CALL])
    except ValueError:
        return
    raise AssertionError("a durable call was taken as a summary")


async def containers_are_remembered(store: StateStore) -> None:
    running = ContainerRecord(id=ContainerId("co-1"), function=_FUNCTION, started_s=1.0)
    other = ContainerRecord(id=ContainerId("co-2"), function=FunctionId("fu-2"), started_s=2.0)
    store.history([running, other])
    ended = replace(running, ended_s=3.0, reason="oom", peak_memory_bytes=1 << 40, cpu_s=0.25)
    store.history([ended])
    await store.flush()
    assert await store.containers() == (other, ended)
    assert await store.containers(function=_FUNCTION) == (ended,)
    assert await store.containers(limit=1) == (other,)


async def layers_are_remembered_by_their_use(store: StateStore) -> None:
    first = LayerRecord(key="a", recipe='{"pip": ["x"]}', state=LayerState.BUILDING, used_s=1.0)
    second = LayerRecord(key="b", recipe="{}", state=LayerState.READY, size_bytes=1 << 40, used_s=2.0)
    await store.record_layer(first)
    await store.record_layer(second)
    ready = replace(first, state=LayerState.READY, size_bytes=7)
    await store.record_layer(ready)
    assert await store.layers() == (ready, second)
    await store.use_layers(["a", "nobody"], at_s=5.0)
    await store.use_layers(["a"], at_s=4.0)
    assert await store.layers() == (second, replace(ready, used_s=5.0))
    assert await store.forget_layer("b")
    assert not await store.forget_layer("b")
    assert await store.layers() == (replace(ready, used_s=5.0),)


async def a_sweep_takes_what_ended_long_ago_and_nothing_else(store: StateStore) -> None:
    app = AppRecord(id=AppId("ap-1"), name="one", kind=AppKind.EPHEMERAL, created_s=1.0)
    await store.record_app(app, [FunctionRecord(id=_FUNCTION, app=app.id, name="f", definition="{}")])
    await store.end_app(app.id, at_s=2.0)
    large = _named("fc-large", 4_500)
    await store.record_call(large, [chunk(0, 4_500)])
    items = [replace(outcome(index), ended_s=10.0, blob="a" * 64) for index in range(4_500)]
    await store.record_outcomes(large.id, items)
    await store.record_call(_named("fc-open", 2), [chunk(0, 2)])
    store.history(
        [
            ContainerRecord(id=ContainerId(f"co-{n}"), function=_FUNCTION, started_s=1.0, ended_s=9.0 + n)
            for n in range(3)
        ]
    )
    await store.flush()
    assert await store.sweep(ended_before_s=10.0) == Swept(containers=1)
    assert await store.sweep(ended_before_s=11.0) == Swept(calls=1, containers=1)
    assert await store.call(large.id) is None
    assert await store.outcomes(large.id, start=0, stop=4_500) == ()
    assert await store.inputs(large.id, start=0, stop=4_500) == ()
    assert await store.blob_refs() == frozenset()
    assert [one.call.id for one in await store.open_calls()] == ["fc-open"]
    # The app stays as long as one of its calls does.
    await store.end_call(CallId("fc-open"), state=CallState.CANCELLED, at_s=10.0)
    assert await store.sweep(ended_before_s=11.0) == Swept(calls=1, apps=1)
    assert (await store.apps(ended=True), await store.functions(app.id)) == ((), ())


async def a_closed_store_says_so(store: StateStore) -> None:
    store.history([ContainerRecord(id=ContainerId("co-1"), function=_FUNCTION, started_s=1.0)])
    await store.close()
    await store.close()
    await _raised(StoreClosed, store.record_call(_CALL))
    await _raised(StoreClosed, store.calls())


async def a_writer_that_gives_up_harms_nobody(store: StateStore) -> None:
    tasks = [asyncio.ensure_future(store.record_call(_named(f"fc-{n}", 1), [chunk(0, 1)])) for n in range(30)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    kept = {one.call.id for one in await store.open_calls()}
    assert {f"fc-{n}" for n in range(1, 30, 2)} <= kept


CHECKS: Final[tuple[Check, ...]] = (
    apps_are_kept_until_they_end,
    a_call_is_kept_with_its_inputs,
    a_call_of_no_inputs_has_ended,
    only_durable_verbs_have_inputs_on_record,
    a_call_sent_twice_is_one_call,
    inputs_cut_differently_are_the_same_inputs,
    inputs_may_come_later_and_so_may_their_number,
    a_number_that_comes_last_ends_the_call,
    another_call_under_the_same_id_is_refused,
    a_refused_call_is_not_on_record,
    the_first_outcome_counts,
    an_outcome_keeps_all_that_it_carries,
    the_last_outcome_ends_the_call,
    outcomes_of_what_is_not_on_record_are_dropped,
    a_call_that_has_ended_takes_nothing_more,
    a_restart_knows_what_is_missing,
    a_large_call_is_recorded_in_few_rows,
    many_writers_at_once_do_not_mix,
    one_writers_trouble_is_not_the_others,
    history_is_there_after_a_flush,
    a_summary_may_be_written_again,
    the_history_does_not_touch_what_is_durable,
    containers_are_remembered,
    layers_are_remembered_by_their_use,
    a_sweep_takes_what_ended_long_ago_and_nothing_else,
    a_closed_store_says_so,
    a_writer_that_gives_up_harms_nobody,
)
"""Each takes a fresh, empty store, and raises AssertionError where the store is none of ours."""


def _with_inputs(inputs: int) -> CallRecord:
    return replace(_CALL, inputs=inputs)


def _named(name: str, inputs: int) -> CallRecord:
    return replace(_CALL, id=CallId(name), inputs=inputs)


async def _everything(store: StateStore) -> object:
    """All that is on record about the one call of a check."""
    return (
        await store.call(_CALL.id),
        await store.inputs(_CALL.id, start=0, stop=100),
        await store.outcomes(_CALL.id, start=0, stop=100),
        await store.open_calls(),
    )


async def _raised(kind: type[E], doing: Awaitable[object]) -> E:
    try:
        await doing
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
