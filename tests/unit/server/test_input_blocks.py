"""Input blocks: cut by bytes and descriptors, let go when everything in them has ended."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.server.input_blocks import MOST_BYTES, MOST_FDS, Block, InputBlocks
from squall.server.sizes import inline, measure


def added(blocks: InputBlocks, start: int, sizes: list[Any], fds: tuple[int, ...] = ()) -> None:
    payload = b"".join(bytes([(start + at) % 251]) * inline(size) for at, size in enumerate(sizes))
    blocks.add(Block.read(start, sizes, payload, fds=len(fds)), fds)


@given(data=st.data())
def test_whatever_is_cut_is_what_was_added(data: st.DataObject) -> None:
    blocks, count = InputBlocks(), 0
    sizes: list[Any] = []
    for _ in range(data.draw(st.integers(1, 5))):
        some = data.draw(
            st.lists(st.integers(0, 9) | st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=6)
        )
        added(blocks, count, some)
        sizes += some
        count += len(some)
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    cut = blocks.cut(start, stop)
    assert cut.stop == stop
    assert cut.sizes == sizes[start:stop]
    expected = b"".join(bytes([index % 251]) * inline(sizes[index]) for index in range(start, stop))
    assert b"".join(cut.parts) == expected
    assert cut.size == len(expected)


@given(sizes=st.lists(st.integers(0, MOST_BYTES), min_size=1, max_size=6), split=st.integers(0, 6))
def test_a_cut_stays_within_a_frame_and_always_gets_on(sizes: list[int], split: int) -> None:
    blocks = InputBlocks()
    for start, part in ((0, sizes[:split]), (len(sizes[:split]), sizes[split:])):
        if part:
            added(blocks, start, part)
    at = 0
    while at < len(sizes):
        cut = blocks.cut(at, len(sizes))
        assert cut.stop > at
        assert cut.size <= MOST_BYTES or cut.stop == at + 1
        at = cut.stop


def test_a_frame_carries_so_many_descriptors_and_no_more() -> None:
    blocks = InputBlocks()
    fds = tuple(os.open("/dev/null", os.O_RDONLY) for _ in range(MOST_FDS + 2))
    added(blocks, 0, [{"f": at, "l": [3]} for at in range(len(fds))], fds)
    first = blocks.cut(0, len(fds))
    assert first.fds == list(fds[:MOST_FDS])
    assert [size["f"] for size in first.sizes] == list(range(MOST_FDS))
    second = blocks.cut(first.stop, len(fds))
    assert second.fds == list(fds[MOST_FDS:])
    assert [size["f"] for size in second.sizes] == [0, 1]
    blocks.ended(0, len(fds))
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


@given(order=st.permutations(range(10)))
def test_blocks_go_when_all_of_them_has_ended_in_any_order(order: list[int]) -> None:
    blocks = InputBlocks()
    added(blocks, 0, [7] * 4)
    added(blocks, 4, [5] * 6)
    gone = 0
    for number, index in enumerate(order, 1):
        gone += blocks.ended(index, index + 1)
        ended = set(order[:number])
        expected = 28 * (not ended.issuperset(range(4))) + 30 * (not ended.issuperset(range(4, 10)))
        assert blocks.bytes == expected
        assert gone == 58 - expected
    assert blocks.close() == 0


@pytest.mark.parametrize(
    ("sizes", "length", "fds"),
    [
        ([3], 2, 0),
        ([-1, 3], 2, 0),
        ([1.0], 1, 0),
        (["1"], 1, 0),
        ([[1, -1, 2]], 2, 0),
        ([[[1]]], 1, 0),
        ([{"f": 0, "l": [1]}], 0, 0),
        ([{"f": -1, "l": [1]}], 0, 1),
        ([{"l": [1]}], 0, 1),
        ([{"f": 0}], 0, 1),
        ([None], 0, 0),
        ({"a": 1}, 1, 0),
        ("11", 2, 0),
        (2, 2, 0),
    ],
)
def test_sizes_that_do_not_add_up_are_refused(sizes: Any, length: int, fds: int) -> None:
    with pytest.raises(ValueError):
        Block.read(0, sizes, b"x" * length, fds=fds)


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists))
def test_whatever_is_measured_is_a_number_of_bytes_or_refused(sizes: Any) -> None:
    try:
        total = measure(sizes, fds=0)
    except ValueError:
        return
    assert type(total) is int
    assert total >= 0
    assert total == sum(map(inline, sizes))
