from __future__ import annotations

import pytest

from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.ids import CallId, FunctionId
from squall.state.records import CallRecord, InputChunk, OutcomeRecord

CHUNK = InputChunk(
    start=10, lengths=(1, 0, 3), payload=b"abcd", blobs={11: "d" * 64}, heads=("one", "two", "three")
)


def test_a_chunk_is_cut_between_its_inputs() -> None:
    assert CHUNK.stop == 13
    assert CHUNK.each() == [b"a", b"", b"bcd"]
    middle = CHUNK.cut(11, 13)
    assert middle.each() == [b"", b"bcd"]
    assert (middle.start, middle.blobs, middle.heads) == (11, {11: "d" * 64}, ("two", "three"))
    assert CHUNK.cut(12, 13).blobs == {}
    assert CHUNK.cut(10, 13) is CHUNK


@pytest.mark.parametrize(("start", "stop"), [(9, 11), (10, 14), (11, 11), (12, 11)])
def test_only_a_part_can_be_cut_out(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="no part"):
        CHUNK.cut(start, stop)


def test_a_chunk_checks_itself() -> None:
    for wrong in (
        {"start": 0, "lengths": ()},
        {"start": -1, "lengths": (0,)},
        {"start": 0, "lengths": (-1, 1)},
        {"start": 0, "lengths": (2,), "payload": b"x"},
        {"start": 0, "lengths": (0,), "blobs": {1: "d" * 64}},
        {"start": 0, "lengths": (0,), "heads": ("a", "b")},
    ):
        with pytest.raises(ValueError, match=r".+"):
            InputChunk(**wrong)  # type: ignore[arg-type] # one wrong value each


@pytest.mark.parametrize(("index", "attempt"), [(-1, 1), (0, 0)])
def test_an_outcome_checks_itself(index: int, attempt: int) -> None:
    with pytest.raises(ValueError, match="count"):
        OutcomeRecord(index=index, attempt=attempt, kind=OutcomeKind.RETURNED, ended_s=0.0)


def test_a_call_knows_whether_it_is_durable_and_open() -> None:
    call = CallRecord(id=CallId("fc"), function=FunctionId("fu"), verb=Verb.SPAWN, created_s=0.0)
    assert (call.durable, call.open) == (True, True)
    ended = CallRecord(
        id=CallId("fc"), function=FunctionId("fu"), verb=Verb.MAP, created_s=0.0, state=CallState.ENDED
    )
    assert (ended.durable, ended.open) == (False, False)
