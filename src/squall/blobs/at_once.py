"""At once: the same work for many, a bounded number of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE: Final = 16


async def at_once(work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> dict[T, R]:
    """What `work` gives for each item. The first error ends the others, and none is left running."""
    given: dict[T, R] = {}
    waiting = iter(items)

    async def take() -> None:
        for item in waiting:
            given[item] = await work(item)

    takers = [asyncio.ensure_future(take()) for _ in range(_AT_ONCE)]
    try:
        await asyncio.gather(*takers)
    finally:
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)
    return given
