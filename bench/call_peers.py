"""Peers: what calls and maps look like for a contender, and the standard library's process pool as the first of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import work

WORKERS = 2
CHUNKS_TO_TRY = (30, 100, 300, 1_000, 2_500, 5_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """One map: seconds to its first result and to its last, and the results in the order of the inputs."""

    first_s: float
    total_s: float
    results: list[tuple[int, int]]


class Peer(Protocol):
    """A running system with two workers, ready to be called."""

    notes: list[str]

    def call(self, value: int) -> tuple[int, int]:
        """One call of `work.tag`, from the arguments to the result."""

    def calls(self, count: int, in_flight: int) -> None:
        """`count` single calls, `in_flight` of them open at any time."""

    def map(self, values: Sequence[int]) -> Mapped:
        """`work.tag` over `values`."""

    def naps(self, seconds: Sequence[float]) -> None:
        """`work.nap` over `seconds`, in any order of results."""

    def weigh(self, data: Any) -> int:
        """One call of `work.weigh` with `data` as its argument."""


def timed_map(start: Callable[[], Iterator[tuple[int, int]]]) -> Mapped:
    """A map that gives its results one after another, timed from before it is started."""
    started = time.perf_counter()
    results = start()
    first = next(results)
    first_s = time.perf_counter() - started
    rest = list(results)
    return Mapped(first_s=first_s, total_s=time.perf_counter() - started, results=[first, *rest])


def best_chunk(attempt: Callable[[int], Mapped]) -> tuple[int, str]:
    """The chunk size whose map was fastest in one trial each, and the line that tells all of them."""
    tried = {chunk: attempt(chunk).total_s for chunk in CHUNKS_TO_TRY}
    best = min(tried, key=tried.__getitem__)
    return best, f"best chunksize {best} of " + " ".join(f"{c}:{s * 1e3:.0f}ms" for c, s in tried.items())


class ProcessPool:
    """A ProcessPoolExecutor of two, one input a message, or `chunk` of them."""

    def __init__(self, pool: ProcessPoolExecutor, values: Sequence[int], *, chunked: bool) -> None:
        self.notes: list[str] = []
        self._pool = pool
        self._chunk = 1
        if chunked:
            self._chunk, line = best_chunk(lambda chunk: self._map(values, chunk))
            self.notes.append(line)

    def call(self, value: int) -> tuple[int, int]:
        return self._pool.submit(work.tag, value).result()

    def calls(self, count: int, in_flight: int) -> None:
        pending: set[Future[tuple[int, int]]] = set()
        for value in range(count):
            if len(pending) >= in_flight:
                _, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending.add(self._pool.submit(work.tag, value))
        wait(pending)

    def map(self, values: Sequence[int]) -> Mapped:
        return self._map(values, self._chunk)

    def naps(self, seconds: Sequence[float]) -> None:
        list(self._pool.map(work.nap, seconds, chunksize=self._chunk))

    def weigh(self, data: Any) -> int:
        return self._pool.submit(work.weigh, data).result()

    def _map(self, values: Sequence[int], chunk: int) -> Mapped:
        return timed_map(lambda: iter(self._pool.map(work.tag, values, chunksize=chunk)))


@contextmanager
def process_pool(values: Sequence[int], *, chunked: bool) -> Iterator[Peer]:
    """A process pool with both processes up."""
    with ProcessPoolExecutor(max_workers=WORKERS) as pool:
        list(pool.map(work.nap, [0.2] * WORKERS))
        yield ProcessPool(pool, values, chunked=chunked)
