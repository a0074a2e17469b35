"""Items of a generator, as frames bring them: each once, in order, or the consumer is told."""

from __future__ import annotations

import pickle

import pytest

from squall.model.errors import InputLost
from squall.sdk.calls import Target
from squall.sdk.items import ItemCall
from squall.wire.codec import Frame, Kind, write_head


def frame(kind: Kind, value: int, **head: object) -> Frame:
    data = pickle.dumps(value, 5)
    return Frame(kind, 1, header=write_head({"d": len(data), **head}), payload=data)


def item(number: int) -> Frame:
    return frame(Kind.DATA, number * 10, item=number)


def ended(count: int) -> Frame:
    data = pickle.dumps(count, 5)
    return Frame(Kind.END, 1, header=write_head({"o": [0, [len(data)], 0]}), payload=data)


def test_items_come_in_their_order_and_then_the_end() -> None:
    call = ItemCall(Target("app/f", None, None), (), {})
    for one in (item(0), item(1), ended(2)):
        call._on_frame(one)
    assert [call.take(wait=False) for _ in range(3)] == [(True, 0), (True, 10), (False, None)]


@pytest.mark.parametrize(
    "frames",
    [[item(0), item(2)], [item(1)], [ended(3)], [item(0), ended(2)], [item(0), item(0)]],
    ids=["a gap", "the first", "all of them", "the last", "twice"],
)
def test_items_that_a_server_took_with_it_are_told_and_not_passed_over(frames: list[Frame]) -> None:
    call = ItemCall(Target("app/f", None, None), (), {})
    for one in frames:
        call._on_frame(one)
    with pytest.raises(InputLost, match="lost with a server"):
        while (got := call.take(wait=False)) is not None and got[0]:
            assert got == (True, 0)
