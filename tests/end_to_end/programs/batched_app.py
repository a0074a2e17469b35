"""Functions and a class whose calls are joined."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from typing import Any

import squall

app = squall.App("batched")
me = ""
notes: list[str] = []


@squall.after_fork
def be_oneself() -> None:
    global me  # noqa: PLW0603 - each container has its own
    me = uuid.uuid4().hex


@app.function(max_containers=1)
@squall.batched(max_batch_size=4, wait_ms=500)
def squares(numbers: list[int], plus: list[int]) -> list[tuple[int, int]]:
    """Of each its value, and how many were together."""
    return [(number**2 + more, len(numbers)) for number, more in zip(numbers, plus, strict=True)]


@app.function(max_containers=1)
@squall.batched(max_batch_size=8, wait_ms=300)
async def squares_async(numbers: list[int]) -> list[tuple[int, int]]:
    await asyncio.sleep(0)
    return [(number**2, len(numbers)) for number in numbers]


@app.function(max_containers=1)
@squall.batched(max_batch_size=3, wait_ms=300)
def odd(numbers: list[int]) -> Any:
    """Wrong in as many ways as there are."""
    match numbers[0]:
        case 0:
            return [1]
        case 1:
            return "abc"
        case 2:
            raise ValueError(f"cannot do {numbers}")
        case 3:
            return [number if number != 4 else threading.Lock() for number in numbers]
    return numbers


@app.function(max_containers=1)
@squall.batched(max_batch_size=4, wait_ms=300)
def optional(numbers: list[int], by: list[int] | None = None) -> list[tuple[int, int]]:
    factors = by or [10] * len(numbers)
    return [(number * factor, len(numbers)) for number, factor in zip(numbers, factors, strict=True)]


@app.function(max_containers=1, timeout=1)
@squall.batched(max_batch_size=2, wait_ms=200)
def slow(seconds: list[float]) -> list[float]:
    over = time.monotonic() + max(seconds)
    try:
        while time.monotonic() < over:
            time.sleep(0.01)
    except BaseException as error:
        notes.append(type(error).__name__)
        raise
    return seconds


@app.function(max_containers=1)
@squall.batched(max_batch_size=2, wait_ms=200)
def waits(words: list[str]) -> list[str]:
    if words == ["notes"]:
        return [" ".join(notes)]
    notes.append(f"{len(words)} began")
    try:
        for _ in range(150):
            time.sleep(0.01)
    except BaseException as error:
        notes.append(type(error).__name__)
        raise
    return words


@app.function(max_containers=1)
@squall.batched(max_batch_size=4, wait_ms=300)
def dies(numbers: list[int]) -> list[int]:
    if 2 in numbers:
        os._exit(3)
    return numbers


@app.cls(max_containers=1)
class Model:
    factor: int = squall.parameter(default=2)

    @squall.enter()
    def up(self) -> None:
        self.calls = 0

    @squall.method()
    @squall.batched(max_batch_size=5, wait_ms=300)
    def scale(self, numbers: list[int]) -> list[tuple[int, int]]:
        self.calls += 1
        return [(self.factor * number, self.calls) for number in numbers]


@app.function(max_containers=1)
@squall.batched(max_batch_size=4, wait_ms=500)
def sizes(values: list[bytes]) -> list[tuple[int, int, int]]:
    return [(len(value), value[-1], len(values)) for value in values]
