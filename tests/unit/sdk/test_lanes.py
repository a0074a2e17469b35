"""Lanes: which change is sent under which number, so that a server can tell one that is sent again from another one."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import ConnectionLost, DeserializationError, QueueFull
from squall.model.ids import LANE, is_id
from squall.model.shared import MOST_AT_ONCE, MOST_BYTES_AT_ONCE
from squall.sdk.lanes import Lanes
from squall.sdk.shared_object import in_messages


def test_changes_one_after_another_share_a_lane_with_rising_numbers() -> None:
    lanes = Lanes()
    heads = []
    for _ in range(3):
        with lanes.lane() as lane:
            heads.append(lane.head())
    assert [head["no"] for head in heads] == [1, 2, 3]
    assert len({head["lane"] for head in heads}) == 1
    assert is_id(heads[0]["lane"], LANE)


def test_changes_at_once_have_a_lane_each() -> None:
    lanes = Lanes()
    with lanes.lane() as one, lanes.lane() as other:
        assert one.id != other.id
    with lanes.lane() as again, lanes.lane() as more:
        assert {again.id, more.id} == {one.id, other.id}


@pytest.mark.parametrize(
    ("left_by", "used_again"),
    [
        (QueueFull("refused"), True),
        (ConnectionLost("nobody knows"), False),
        (DeserializationError("taken, and given back"), False),
        (asyncio.CancelledError(), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_lane_whose_change_may_still_be_on_its_way_is_not_used_again(
    left_by: BaseException, used_again: bool
) -> None:
    lanes = Lanes()
    with pytest.raises(type(left_by)), lanes.lane() as lane:
        raise left_by
    with lanes.lane() as following:
        assert (following.id == lane.id) == used_again


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_lanes_of_its_own() -> None:
    with Lanes.here().lane() as lane:
        own = lane.id
    assert Lanes.here() is Lanes.here()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with Lanes.here().lane() as lane:
            os.write(writing, f"{lane.id} {lane.number}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    its, number = os.read(reading, 100).decode().split()
    os.close(reading)
    os.close(writing)
    assert (its != own, number) == (True, "1")


@given(
    st.lists(
        st.sampled_from([0, 1, 1000, MOST_BYTES_AT_ONCE // 3, MOST_BYTES_AT_ONCE // 2, 2 * 2**20]).map(
            lambda size: (bytes(size),)
        ),
        max_size=12,
    )
    | st.integers(MOST_AT_ONCE - 1, 2 * MOST_AT_ONCE + 1).map(lambda count: [(b"x",)] * count)
)
def test_messages_hold_everything_in_its_order_and_none_is_too_large(parts: list[tuple[bytes, ...]]) -> None:
    messages = [list(message) for message in in_messages(parts)]
    assert [part for message in messages for part in message] == parts
    for message in messages:
        size = sum(len(part) for (part,) in message)
        assert 0 < len(message) <= MOST_AT_ONCE
        assert size <= MOST_BYTES_AT_ONCE or len(message) == 1
