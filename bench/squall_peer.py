"""Squall: the bench's functions as an app of two containers a function, on a server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import squall
import work
from call_peers import WORKERS, Mapped, Peer, timed_map

app = squall.App("bench-calls")


@app.function(min_containers=WORKERS, max_containers=WORKERS)
def tag(value: int) -> tuple[int, int]:
    """The smallest real work."""
    return work.tag(value)


@app.function(min_containers=WORKERS, max_containers=WORKERS)
def nap(seconds: float) -> float:
    """Sleeps."""
    return work.nap(seconds)


@app.function(max_containers=1)
def weigh(data: Any) -> int:
    """Reads every page of its argument."""
    return work.weigh(data)


class Squall:
    """Calls through Squall's client, one input a user call."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def call(self, value: int) -> tuple[int, int]:
        return tag.remote(value)

    def calls(self, count: int, in_flight: int) -> None:
        async def one_after_another(values: Iterator[int]) -> None:
            for value in values:
                await tag.remote.aio(value)

        async def all_of_them() -> None:
            values = iter(range(count))
            await asyncio.gather(*(one_after_another(values) for _ in range(in_flight)))

        asyncio.run(all_of_them())

    def map(self, values: Sequence[int]) -> Mapped:
        return timed_map(lambda: iter(tag.map(values)))

    def naps(self, seconds: Sequence[float]) -> None:
        list(nap.map(seconds, order_outputs=False))

    def weigh(self, data: Any) -> int:
        return weigh.remote(data)


@contextmanager
def squall_peer() -> Iterator[Peer]:
    """The app, running, with two containers that have each answered."""
    with app.run():
        list(nap.map([0.3] * WORKERS * 2))
        yield Squall()
