"""Contract conformance: what every state store keeps of failed inputs, of calls that inputs made, and of what containers took."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from squall.model.call import CANCELLED_CODE, CallState, OutcomeKind, Verb
from squall.model.ids import CallId, ContainerId, FunctionId
from squall.state.records import (
    BusyRecord,
    CallRecord,
    ContainerRecord,
    InputChunk,
    OpenCall,
    OutcomeRecord,
    Usage,
)
from squall.state.state_store import StateStore
from squall.testing.conformance.state_store import Check

_CALL: Final = CallRecord(
    id=CallId("fc-the"), function=FunctionId("ap-1/f"), verb=Verb.SPAWN_MAP, created_s=5.0, inputs=6
)
_INPUTS: Final = InputChunk(start=0, lengths=(1,) * 6, payload=b"abcdef")


def _outcome(index: int, kind: OutcomeKind, *, code: str = "", attempt: int = 1) -> OutcomeRecord:
    return OutcomeRecord(
        index=index, attempt=attempt, kind=kind, ended_s=100.0 + index, code=code, payload=b"x"
    )


async def _ended(store: StateStore, call: CallRecord = _CALL) -> None:
    """Its inputs 1 (raised), 3 (failed) and 4 (failed, in its second attempt) are dead; 5 was cancelled."""
    await store.record_call(call, [_INPUTS])
    items = [
        _outcome(0, OutcomeKind.RETURNED),
        _outcome(1, OutcomeKind.RAISED),
        _outcome(2, OutcomeKind.RETURNED),
        _outcome(3, OutcomeKind.FAILED, code="SQ-1309"),
        _outcome(4, OutcomeKind.FAILED, code="SQ-1401", attempt=2),
        _outcome(5, OutcomeKind.FAILED, code=CANCELLED_CODE),
    ]
    assert await store.record_outcomes(call.id, items) == (0, 1, 2, 3, 4, 5)


async def what_failed_is_a_dead_letter_and_what_was_cancelled_is_none(store: StateStore) -> None:
    await _ended(store)
    other = replace(_CALL, id=CallId("fc-z"), function=FunctionId("ap-2/f_g"), inputs=2)
    await store.record_call(other, [InputChunk(start=0, lengths=(1, 1), payload=b"ab")])
    await store.record_outcomes(other.id, [_outcome(1, OutcomeKind.RAISED)])
    found = await store.dead_letters()
    assert [(one.call, one.index) for one in found] == [
        (other.id, 1),
        (_CALL.id, 1),
        (_CALL.id, 3),
        (_CALL.id, 4),
    ]
    assert (found[3].function, found[3].attempt, found[3].code, found[3].ended_s) == (
        *("ap-1/f", 2, "SQ-1401", 104.0),
    )
    assert (found[1].kind, found[1].code) == (OutcomeKind.RAISED, "")
    assert [one.index for one in await store.dead_letters(call=_CALL.id, start=2)] == [3, 4]
    assert [one.index for one in await store.dead_letters(call=_CALL.id, limit=1)] == [1]
    assert [one.call for one in await store.dead_letters(name="f_g")] == [other.id]
    assert {one.call for one in await store.dead_letters(name="f")} == {_CALL.id}
    assert await store.dead_letters(name="f%g") == ()
    assert await store.dead_letters(call=CallId("fc-none")) == ()


async def a_replay_opens_the_call_again_for_its_dead_letters(store: StateStore) -> None:
    await _ended(store)
    assert await store.replay(_CALL.id) == (1, 3, 4)
    opened = replace(_CALL, done=3, failed=1)
    assert await store.call(_CALL.id) == opened
    assert await store.open_calls() == (
        OpenCall(call=opened, missing=((1, 2), (3, 5)), tried={1: 1, 3: 1, 4: 2}),
    )
    assert await store.dead_letters() == ()
    assert await store.inputs(_CALL.id, start=3, stop=4) == (_INPUTS.cut(3, 4),)
    assert await store.replay(_CALL.id) == (), "it is open"
    again = [_outcome(index, OutcomeKind.RETURNED, attempt=3) for index in (1, 3, 4)]
    assert await store.record_outcomes(_CALL.id, again) == (1, 3, 4)
    ended = await store.call(_CALL.id)
    assert ended == replace(opened, done=6, state=CallState.ENDED, ended_s=104.0)
    assert await store.outcomes(_CALL.id, start=3, stop=4) == (again[1],)
    assert await store.open_calls() == ()


async def what_attempts_before_a_replay_say_does_not_count(store: StateStore) -> None:
    await _ended(store)
    assert await store.replay(_CALL.id, indexes=[4, 1, 5, 0, 77]) == (1, 4)
    late = [_outcome(1, OutcomeKind.RETURNED), _outcome(4, OutcomeKind.RETURNED, attempt=2)]
    assert await store.record_outcomes(_CALL.id, late) == ()
    assert await store.outcomes(_CALL.id, start=0, stop=2) == (_outcome(0, OutcomeKind.RETURNED),)
    new = [_outcome(1, OutcomeKind.RAISED, attempt=2), _outcome(4, OutcomeKind.RETURNED, attempt=3)]
    assert await store.record_outcomes(_CALL.id, [*late, *new]) == (1, 4)
    assert [one.index for one in await store.dead_letters()] == [1, 3]
    # And once more.
    assert await store.replay(_CALL.id, indexes=[1]) == (1,)
    assert await store.record_outcomes(_CALL.id, [_outcome(1, OutcomeKind.RETURNED, attempt=2)]) == ()
    assert await store.record_outcomes(_CALL.id, [_outcome(1, OutcomeKind.RETURNED, attempt=3)]) == (1,)


async def only_a_call_that_has_ended_is_replayed(store: StateStore) -> None:
    assert await store.replay(_CALL.id) == ()
    await store.record_call(_CALL, [_INPUTS])
    await store.record_outcomes(_CALL.id, [_outcome(1, OutcomeKind.RAISED)])
    assert await store.replay(_CALL.id) == ()
    await store.end_call(_CALL.id, state=CallState.CANCELLED, at_s=9.0)
    assert await store.replay(_CALL.id) == ()
    fine = replace(_CALL, id=CallId("fc-fine"), inputs=1)
    await store.record_call(fine, [InputChunk(start=0, lengths=(1,), payload=b"a")])
    await store.record_outcomes(fine.id, [_outcome(0, OutcomeKind.RETURNED)])
    assert await store.replay(fine.id) == ()
    record = await store.call(fine.id)
    assert record is not None
    assert record.state is CallState.ENDED


async def a_replayed_call_is_swept_once_it_has_ended_again(store: StateStore) -> None:
    await _ended(store)
    await store.replay(_CALL.id, indexes=[1])
    assert (await store.sweep(ended_before_s=1000.0)).calls == 0
    await store.record_outcomes(_CALL.id, [_outcome(1, OutcomeKind.RETURNED, attempt=2)])
    assert (await store.sweep(ended_before_s=1000.0)).calls == 1
    await store.record_call(_CALL, [_INPUTS])
    assert await store.record_outcomes(_CALL.id, [_outcome(1, OutcomeKind.RETURNED)]) == (1,)


async def calls_are_found_by_the_inputs_that_made_them(store: StateStore) -> None:
    made = [
        replace(_CALL, id=CallId(f"fc-{number}"), parent=f"{_CALL.id}:{number}", inputs=None)
        for number in range(3)
    ]
    await store.record_call(_CALL)
    for call in made:
        await store.record_call(call)
    await store.record_call(replace(_CALL, id=CallId("fc-grand"), parent="fc-1:0"))
    await store.record_call(replace(_CALL, id=CallId("fc-other"), parent=f"{_CALL.id}x:0"))
    summary = replace(_CALL, id=CallId("fc-map"), verb=Verb.MAP, parent=f"{_CALL.id}:7")
    store.history([summary])
    await store.flush()
    assert await store.children(_CALL.id) == (*made, summary)
    assert await store.children(_CALL.id, start=1, limit=1) == (made[1],)
    assert [one.id for one in await store.children(CallId("fc-1"))] == ["fc-grand"]
    assert await store.children(CallId("fc-grand")) == ()


async def what_containers_took_is_summed_by_function(store: StateStore) -> None:
    first = ContainerRecord(
        id=ContainerId("co-1"),
        function=_CALL.function,
        started_s=10.0,
        ended_s=14.0,
        reason="exit",
        cpu_s=1.5,
        cpu_kept_s=4.0,
        memory_byte_s=4e12,
        memory_kept_byte_s=8e12,
        gpu_s=8.0,
        gpu_type="H100",
    )
    lost = ContainerRecord(
        id=ContainerId("co-2"), function=_CALL.function, started_s=10.0, ended_s=12.0, cpu_kept_s=2.0
    )
    running = ContainerRecord(id=ContainerId("co-3"), function=_CALL.function, started_s=1.0)
    other = replace(first, id=ContainerId("co-4"), function=FunctionId("ap-1/e"), ended_s=20.0)
    store.history([first, lost, running, other])
    await store.flush()
    assert first in await store.containers()
    summed = Usage(
        function=_CALL.function,
        containers=2,
        container_s=6.0,
        cpu_s=1.5,
        cpu_kept_s=6.0,
        memory_byte_s=4e12,
        memory_kept_byte_s=8e12,
        gpu_s=8.0,
    )
    assert await store.usage(since_s=0.0, until_s=20.0) == (summed,)
    assert [one.function for one in await store.usage(since_s=0.0, until_s=21.0)] == ["ap-1/e", "ap-1/f"]
    assert await store.usage(since_s=15.0, until_s=20.0) == ()


async def who_was_busy_with_a_call_is_remembered(store: StateStore) -> None:
    row = BusyRecord(container=ContainerId("co-1"), call=_CALL.id, since_s=1.0, at_s=3.0, busy_s=0.5)
    other = replace(row, container=ContainerId("co-0"))
    store.history([row, other, replace(row, call=CallId("fc-other"))])
    store.history([replace(row, at_s=4.0, busy_s=0.75), replace(row, since_s=9.0, at_s=10.0)])
    await store.flush()
    assert await store.busy(_CALL.id) == (
        other,
        replace(row, at_s=4.0, busy_s=0.75),
        replace(row, since_s=9.0, at_s=10.0),
    )
    await store.sweep(ended_before_s=5.0)
    assert await store.busy(_CALL.id) == (replace(row, since_s=9.0, at_s=10.0),)


async def a_summary_of_which_nobody_says_when_it_ended_is_swept_by_its_beginning(store: StateStore) -> None:
    store.history([replace(_CALL, verb=Verb.REMOTE)])
    await store.record_call(replace(_CALL, id=CallId("fc-open")), [_INPUTS])
    await store.flush()
    assert (await store.sweep(ended_before_s=5.0)).calls == 0
    assert (await store.sweep(ended_before_s=6.0)).calls == 1
    assert await store.call(CallId("fc-open")) is not None


async def of_two_replays_at_once_one_finds_them(store: StateStore) -> None:
    await _ended(store)
    found = await asyncio.gather(*(store.replay(_CALL.id) for _ in range(5)))
    assert sorted(found) == [(), (), (), (), (1, 3, 4)]


CHECKS: Final[tuple[Check, ...]] = (
    what_failed_is_a_dead_letter_and_what_was_cancelled_is_none,
    a_replay_opens_the_call_again_for_its_dead_letters,
    what_attempts_before_a_replay_say_does_not_count,
    only_a_call_that_has_ended_is_replayed,
    a_replayed_call_is_swept_once_it_has_ended_again,
    calls_are_found_by_the_inputs_that_made_them,
    what_containers_took_is_summed_by_function,
    who_was_busy_with_a_call_is_remembered,
    a_summary_of_which_nobody_says_when_it_ended_is_swept_by_its_beginning,
    of_two_replays_at_once_one_finds_them,
)
"""Each takes a fresh, empty store, and raises AssertionError where the store is none of ours."""
