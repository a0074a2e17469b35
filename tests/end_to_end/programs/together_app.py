"""Functions and a class whose containers work on several inputs at once."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator

import squall

app = squall.App("together")
SIDE = 8
me = "" if squall.is_local() else uuid.uuid4().hex
lock = threading.Lock()
barrier = threading.Barrier(SIDE)
notes: list[str] = []
peak = [0, 0]


@squall.after_fork
def be_oneself() -> None:
    global me  # noqa: PLW0603 - each container has its own
    me = uuid.uuid4().hex


@app.function(max_containers=1)
@squall.concurrent(max_inputs=SIDE)
def meets(number: int) -> tuple[str, int, str | None, bool]:
    """Comes to its end only where all of them run at once."""
    barrier.wait(30)
    return me, number, squall.current_input_id(), threading.current_thread() is threading.main_thread()


@app.function(max_containers=1)
@squall.concurrent(max_inputs=SIDE)
async def meets_async(number: int) -> tuple[str, int, str | None, bool]:
    peak[0] += 1
    while peak[0] < SIDE:
        await asyncio.sleep(0.005)
    return me, number, squall.current_input_id(), threading.current_thread() is threading.main_thread()


@app.function(max_containers=1)
@squall.concurrent(max_inputs=3)
def counts(seconds: float) -> int:
    """The most that were here at once so far."""
    with lock:
        peak[0] += 1
        peak[1] = max(peak)
    time.sleep(seconds)
    with lock:
        peak[0] -= 1
        return peak[1]


@app.function(max_containers=1, timeout=2)
@squall.concurrent(max_inputs=SIDE)
def waits(word: str, seconds: float) -> str:
    """Waits in small steps, between which it can be interrupted."""
    if word == "notes":
        return " ".join(notes)
    notes.append(f"{word} began")
    try:
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            time.sleep(0.01)
    except BaseException as error:
        notes.append(f"{word} {type(error).__name__}")
        raise
    return f"{word} {me}"


@app.function(max_containers=1, timeout=2)
@squall.concurrent(max_inputs=SIDE)
async def waits_async(word: str, seconds: float) -> str:
    if word == "notes":
        return " ".join(notes)
    notes.append(f"{word} began")
    try:
        await asyncio.sleep(seconds)
    except BaseException as error:
        notes.append(f"{word} {type(error).__name__}")
        raise
    return f"{word} {me}"


@app.function(max_containers=1, timeout=1)
@squall.concurrent(max_inputs=2)
def sleeps(seconds: float) -> float:
    """Cannot be interrupted while it sleeps."""
    time.sleep(seconds)
    return seconds


@app.function(max_containers=1)
@squall.concurrent(max_inputs=SIDE)
def dies(number: int) -> int:
    if number == 3:
        time.sleep(0.3)
        os._exit(3)
    time.sleep(0.6)
    return number


@app.function(max_containers=1)
@squall.concurrent(max_inputs=SIDE)
def fails(number: int) -> int:
    barrier.wait(30)
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


@app.function(max_containers=1)
@squall.concurrent(max_inputs=2)
def items(upto: int) -> Iterator[tuple[str, int]]:
    for number in range(upto):
        yield me, number


@app.function(max_containers=1)
@squall.concurrent(max_inputs=2)
async def items_async(upto: int) -> AsyncIterator[tuple[str, int]]:
    for number in range(upto):
        yield me, number


@app.function(max_containers=1)
@squall.concurrent(max_inputs=SIDE)
def measures(data: bytes) -> tuple[int, int]:
    barrier.wait(30)
    return len(data), data[-1]


@app.function(max_containers=4)
@squall.concurrent(max_inputs=16, target_inputs=2)
def spreads(seconds: float) -> str:
    time.sleep(seconds)
    return me


@app.cls(max_containers=1, scaledown_window=2)
@squall.concurrent(max_inputs=4)
class Room:
    """Methods of every kind, of which one lets the others go."""

    @squall.enter()
    async def up(self) -> None:
        self.opened = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.noted: list[str] = []

    @squall.method()
    async def waits(self) -> str:
        await self.opened.wait()
        return f"opened by {self.by}"

    @squall.method()
    def opens(self, by: str) -> str:
        self.by = by
        self.loop.call_soon_threadsafe(self.opened.set)
        return threading.current_thread().name

    @squall.method()
    async def counts(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number


@app.function(max_containers=1)
@squall.concurrent(max_inputs=SIDE)
def talks(number: int) -> None:
    barrier.wait(30)
    for _ in range(20):
        print(number, "says", number * 1111, end="")
        time.sleep(0.001)
        print(".")


@app.function(max_containers=1)
@squall.concurrent(max_inputs=2)
def ends(seconds: float) -> None:
    print("begins", flush=True)
    try:
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            time.sleep(0.01)
    finally:
        print("ends in finally", flush=True)


@app.local_entrypoint()
def main() -> None:
    talks.for_each(range(SIDE))
