"""Every verb's `.aio`, on containers and on a loop of the caller's."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

import squall

T = TypeVar("T")


def awaited(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def slowly(count: int, pause_s: float) -> AsyncIterator[int]:
    for number in range(count):
        yield number
        await asyncio.sleep(pause_s)


def test_calls_are_awaited_side_by_side(verbs: Any) -> None:
    async def work() -> list[int]:
        return list(await asyncio.gather(*(verbs.double.remote.aio(number) for number in range(20))))

    assert awaited(work()) == [2 * number for number in range(20)]


def test_a_cancelled_task_cancels_its_call(verbs: Any) -> None:
    async def work() -> float:
        task = asyncio.create_task(verbs.nap.remote.aio(30.0))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return float(await verbs.nap.remote.aio(0.0))

    assert awaited(work()) == 0.0


def test_maps_are_awaited_in_order_or_without(verbs: Any) -> None:
    async def work() -> tuple[list[int], list[int], list[int]]:
        ordered = [value async for value in verbs.double.map.aio(range(100))]
        anyhow = [value async for value in verbs.double.map.aio(range(100), order_outputs=False)]
        star = [value async for value in verbs.add.starmap.aio(pairs())]
        return ordered, sorted(anyhow), star

    async def pairs() -> AsyncIterator[tuple[int, int]]:
        yield 1, 2
        yield 3, 4

    doubles = [2 * number for number in range(100)]
    assert awaited(work()) == (doubles, doubles, [3, 7])


def test_a_value_does_not_wait_for_an_input_that_is_slow_to_come(verbs: Any) -> None:
    async def work() -> list[float]:
        began = time.monotonic()
        return [time.monotonic() - began async for _ in verbs.double.map.aio(slowly(3, 0.5))]

    verbs.double.remote(0)
    first, second, third = awaited(work())
    assert first < 0.45
    assert second < 0.95
    assert third < 1.45


def test_endless_inputs_are_taken_lazily_and_closed_in_the_end(verbs: Any) -> None:
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in itertools.count():
                yield number
        finally:
            closed.append(True)

    async def work() -> list[int]:
        got: list[int] = []
        values = verbs.double.map.aio(numbers())
        async for value in values:
            got.append(value)
            if len(got) == 3:
                break
        await values.aclose()
        return got

    assert awaited(work()) == [0, 2, 4]
    assert closed == [True]


def test_what_inputs_or_functions_raise_is_raised(verbs: Any) -> None:
    async def bad() -> AsyncIterator[int]:
        yield 1
        raise KeyError("mine")

    async def work() -> list[Any]:
        with pytest.raises(KeyError, match="mine"):
            [value async for value in verbs.double.map.aio(bad())]
        with pytest.raises(ValueError, match="no 2"):
            await verbs.picky.for_each.aio(range(4))
        await verbs.picky.for_each.aio(range(4), ignore_exceptions=True)
        return [str(value) async for value in verbs.picky.map.aio(range(3), return_exceptions=True)]

    assert awaited(work()) == ["0", "1", "no 2"]


def test_items_are_awaited_and_leaving_closes_the_generator(verbs: Any) -> None:
    async def work() -> tuple[list[int], list[int], int]:
        plain = [item async for item in verbs.count.remote_gen.aio(100)]
        other = [item async for item in verbs.count_async.remote_gen.aio(3)]
        endless = verbs.endless.remote_gen.aio("awaited")
        first = await anext(endless)
        await endless.aclose()
        return plain, other, first

    assert awaited(work()) == (list(range(100)), [0, 1, 2], 0)


def test_calls_that_outlive_their_caller_are_awaited_too(verbs: Any) -> None:
    async def work() -> tuple[Any, ...]:
        one = await verbs.double.spawn.aio(3)
        many = await verbs.double.spawn_map.aio(slowly(3, 0.0), kwargs={"plus": 1})
        values = [value async for value in many.iter.aio()]
        both = await squall.FunctionCall.gather.aio(one, many)
        return await one.get.aio(), values, both, await many.num_inputs.aio()

    assert awaited(work()) == (6, [1, 3, 5], [6, 1], 3)


def test_an_app_is_run_on_a_loop(verbs: Any) -> None:
    app = squall.App("awaited")

    @app.function(serialized=True)
    def one_more(number: int) -> int:
        return number + 1

    async def work() -> int:
        async with app.run():
            return await one_more.remote.aio(1)

    assert awaited(work()) == 2


def test_a_plain_iterator_does_not_hold_up_the_loop_for_ever(verbs: Any) -> None:
    turns = 0
    turns_when_read: list[int] = []

    def numbers() -> Iterator[int]:
        yield from range(3000)
        turns_when_read.append(turns)

    async def work() -> int:
        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count_turns())
        total: int = sum([value async for value in verbs.double.map.aio(numbers())])
        counting.cancel()
        return total

    assert awaited(work()) == sum(2 * number for number in range(3000))
    # Others had their turns while it was read.
    assert turns_when_read[0] > 1
