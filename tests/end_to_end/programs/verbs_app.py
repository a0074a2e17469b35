"""An app with a function for each thing that the tests of verbs ask of one."""

import asyncio
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import squall

app = squall.App("verbs")


@app.function(max_containers=2)
def double(number: int, *, plus: int = 0) -> int:
    return number * 2 + plus


@app.function(max_containers=2)
def add(left: int, right: int, *, by: int = 1) -> int:
    return (left + right) * by


@app.function(max_containers=2)
def shape(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


@app.function(max_containers=2)
def picky(number: int) -> int:
    if number % 3 == 2:
        raise ValueError(f"no {number}")
    return number


@app.function(max_containers=4)
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.function(max_containers=2)
async def slow_double(number: int) -> int:
    await asyncio.sleep(0.001)
    return number * 2


@app.function(max_containers=2)
def count(upto: int, raises: bool = False) -> Iterator[int]:
    yield from range(upto)
    if raises:
        raise ValueError(f"only {upto}")


@app.function(max_containers=2)
async def count_async(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        await asyncio.sleep(0)
        yield number


@app.function(max_containers=1)
def endless(mark: str) -> Iterator[int]:
    number = 0
    try:
        while True:
            _marks[mark] = number
            yield number
            number += 1
    finally:
        _marks[mark + " closed"] = number


@app.function(max_containers=1)
def echoes() -> Iterator[Any]:
    yield "one"
    yield {"two": 2}
    yield b"x" * 3_000_000


_marks: dict[str, int] = {}


@app.function(max_containers=1)
async def endless_async(mark: str) -> AsyncIterator[Any]:
    number = 0
    try:
        while True:
            yield number if not mark.startswith("look:") else dict(_marks)
            number += 1
            _marks[mark] = number
    finally:
        _marks[mark + " closed"] = number


# -- calls from within containers


@app.function(max_containers=16)
def factorial(number: int) -> int:
    return 1 if number < 2 else number * factorial.remote(number - 1)


@app.function(max_containers=8)
async def factorial_async(number: int) -> int:
    return 1 if number < 2 else number * await factorial_async.remote.aio(number - 1)


@app.function(max_containers=2)
def sum_of_doubles(upto: int) -> int:
    return sum(double.map(range(upto)))


@app.function(max_containers=2)
async def sum_of_doubles_async(upto: int) -> int:
    return sum([value async for value in double.map.aio(range(upto))])


@app.function(max_containers=2)
def sum_of_items(upto: int) -> int:
    return sum(count.remote_gen(upto))


@app.function(max_containers=2)
def spawns(number: int) -> tuple[str, int]:
    call = double.spawn(number)
    return call.object_id, call.get(timeout=30)


@app.function(max_containers=2)
def asks_wrongly() -> int:
    return picky.remote(2)


# -- where code runs


@app.function(max_containers=1, env={"COLOUR": "blue"})
def where() -> dict[str, Any]:
    inside: list[Any] = []
    thread = threading.Thread(target=lambda: inside.append((squall.current_input_id(), squall.is_local())))
    thread.start()
    thread.join()
    return {
        "local": squall.is_local(),
        "input": squall.current_input_id(),
        "call": squall.current_function_call_id(),
        "thread": inside[0],
        "colour": os.environ.get("COLOUR"),
        "pid": os.getpid(),
    }


@app.function(max_containers=2)
async def ids_of_tasks() -> list[str | None]:
    async def one() -> str | None:
        await asyncio.sleep(0)
        return squall.current_input_id()

    return list(await asyncio.gather(one(), one(), asyncio.to_thread(squall.current_input_id)))


def local_only() -> bool:
    return squall.is_local()


# -- tries


@app.function(
    max_containers=1, retries=squall.Retries(max_retries=3, initial_delay=0.05, backoff_coefficient=2.0)
)
def third_time(folder: str) -> list[float]:
    path = Path("/tmp") / folder
    path.mkdir(exist_ok=True)
    (path / str(time.monotonic())).touch()
    tries = sorted(float(entry.name) for entry in path.iterdir())
    if len(tries) < 3:
        raise RuntimeError(f"try {len(tries)}")
    return tries


@app.function(max_containers=1, retries=squall.Retries(max_retries=2, initial_delay=0.01))
def never(folder: str) -> None:
    path = Path("/tmp") / folder
    path.mkdir(exist_ok=True)
    (path / str(time.monotonic())).touch()
    raise RuntimeError(f"try {len(list(path.iterdir()))}")


@app.function(max_containers=1, timeout=1)
def sleeps_on(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


@app.function(max_containers=1, timeout=1)
def spins_on(seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return "done"


@app.function(max_containers=1, timeout=1)
async def awaits_on(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@app.function(max_containers=1, timeout=1)
def yields_on(seconds: float) -> Iterator[int]:
    yield 1
    time.sleep(seconds)
    yield 2


@app.function(max_containers=1, timeout=1)
def holds_on(seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(seconds)
        except BaseException:  # noqa: BLE001 - this is the function that does not give way
            continue
    return f"done {seconds}"


@app.function(max_containers=1)
def stubborn(seconds: float) -> str:
    return holds_on.local(seconds)


@app.function(max_containers=1)
def confesses(folder: str, seconds: float) -> str:
    try:
        time.sleep(seconds)
    except BaseException as error:
        _marks[folder] = 1
        print("ENDED BY", type(error).__name__, flush=True)
        raise
    return "done"


@app.function(max_containers=3, single_use_containers=True)
def fresh(_number: int = 0) -> int:
    with Path("/tmp/seen").open("a") as file:
        file.write("x")
    return len(Path("/tmp/seen").read_text())


# -- values


@app.function(max_containers=2)
def spoils(array: Any) -> int:
    size = len(array)
    array[:] = -1
    return size


_reused: list[Any] = []


@app.function(max_containers=1)
def reuses(number: int) -> Any:
    if not _reused:
        _reused.append(importlib.import_module("numpy").zeros(20_000))
    _reused[0][:] = number
    return _reused[0]


@app.function(max_containers=2)
def size_of(data: bytes) -> int:
    return len(data)


@app.function(max_containers=2)
def bytes_of(size: int) -> bytes:
    return bytes(size)


# -- printing


@app.function(max_containers=1)
def prints(lines: int) -> None:
    for number in range(lines):
        print(f"line {number}", file=sys.stderr if number % 2 else sys.stdout)


@app.function(max_containers=1)
def prints_oddly() -> None:
    print("no end", end="")
    subprocess.run(["sh", "-c", "echo from below; echo from below, wrongly >&2"], check=True)
    os.write(1, b"raw \xff\xfe bytes\n")
    sys.stdout.buffer.write(b"buffered \xff\n")
    print("last", end="")


@app.function(max_containers=1)
def prints_and_dies() -> None:
    print("last words")
    os._exit(3)


@app.function(max_containers=3)
def prints_from_many(number: int) -> int:
    print(f"hello {number}")
    time.sleep(0.2)
    return number
