"""What inputs are made of iterables, how many are taken at once, and when."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from squall.sdk.inputs import MOST_AHEAD, PATIENCE_S, Ahead, collect, inputs_of


def test_iterables_are_zipped_to_the_shortest_and_share_keywords() -> None:
    assert list(inputs_of(([1, 2, 3], "ab"), {"k": 0}, star=False)) == [
        ((1, "a"), {"k": 0}),
        ((2, "b"), {"k": 0}),
    ]
    assert list(inputs_of(([[1, 2], (3,)],), {}, star=True)) == [((1, 2), {}), ((3,), {})]
    assert list(inputs_of((), {}, star=False)) == []


def test_what_is_no_iterable_is_refused() -> None:
    with pytest.raises(TypeError):
        inputs_of((1,), {}, star=False)
    with pytest.raises(TypeError):
        inputs_of((1,), {}, star=True)
    with pytest.raises(TypeError, match="one iterable"):
        inputs_of(([], []), {}, star=True)


def test_no_more_are_taken_than_asked_for() -> None:
    inputs = inputs_of((itertools.count(),), {}, star=False)
    assert [args for args, _ in collect(inputs, 3)[0]] == [(0,), (1,), (2,)]
    batch, last = collect(inputs, 2)
    assert ([args for args, _ in batch], last) == ([(3,), (4,)], False)
    assert collect(inputs_of(([1],), {}, star=False), 2) == ([((1,), {})], True)


def test_those_that_are_there_do_not_wait_for_slow_ones() -> None:
    def slow() -> Iterator[int]:
        yield 1
        time.sleep(3 * PATIENCE_S)
        yield 2
        raise AssertionError("asked for one more")

    batch, last = collect(inputs_of((slow(),), {}, star=False), 100)
    assert ([args for args, _ in batch], last) == ([(1,), (2,)], False)


def test_asynchronous_ones_are_taken_ahead_within_bounds_and_closed() -> None:
    closed = []

    async def endless() -> AsyncIterator[int]:
        try:
            for number in itertools.count():
                yield number
        finally:
            closed.append(True)

    async def work() -> tuple[int, bool]:
        told = asyncio.Event()
        inputs: Any = inputs_of((endless(), [0] * 10_000), {}, star=False)
        async with Ahead(inputs, told.set) as ahead:
            await told.wait()
            await asyncio.sleep(0.01)
            got = ahead.collect(100_000)
            assert got is not None
            batch, last = got
            return len(batch), last

    count, last = asyncio.run(work())
    assert 0 < count <= MOST_AHEAD
    assert not last
    assert closed == [True]


def test_what_an_asynchronous_one_raises_comes_after_what_it_gave() -> None:
    async def bad() -> AsyncIterator[int]:
        yield 1
        raise KeyError("mine")

    async def work() -> None:
        async with Ahead(inputs_of((bad(),), {}, star=False), lambda: None) as ahead:
            await asyncio.sleep(0.01)
            assert ahead.ready
            with pytest.raises(KeyError, match="mine"):
                while True:
                    ahead.collect(1)

    asyncio.run(work())
