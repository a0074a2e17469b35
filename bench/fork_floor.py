"""Fork floor: a process that has imported what the function needs, and forks itself at each request on its standard input."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from typing import Any


def fork_one(work: Any) -> tuple[float, float]:
    """Milliseconds from before the fork to the child's first line, and to its result here."""
    read, write = os.pipe()
    asked = time.monotonic()
    pid = os.fork()
    if pid == 0:
        at, wall, number = work.answer()
        os.write(write, f"{at!r} {wall!r} {number}\n".encode())
        os._exit(0)
    line = os.read(read, 200)
    got_at = time.monotonic()
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    return (float(line.split()[0]) - asked) * 1e3, (got_at - asked) * 1e3


def fork_many(work: Any, count: int, in_flight: int) -> float:
    """Forks a second, so many alive at any time."""
    started, alive = time.monotonic(), 0
    for _ in range(count):
        if alive == in_flight:
            os.wait()
            alive -= 1
        if os.fork() == 0:
            work.answer()
            os._exit(0)
        alive += 1
    for _ in range(alive):
        os.wait()
    return count / (time.monotonic() - started)


def fork_and_stay(work: Any, count: int) -> list[int]:
    """Forks so many, each idle after its answer; their pids, once all have answered."""
    read, write = os.pipe()
    pids: list[int] = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            work.answer()
            os.write(write, b".")
            while True:
                signal.pause()
        pids.append(pid)
    answered = 0
    while answered < count:
        answered += len(os.read(read, count))
    os.close(read)
    os.close(write)
    return pids


def reap() -> int:
    """Waits for every child; how many there were."""
    count = 0
    try:
        while True:
            os.wait()
            count += 1
    except ChildProcessError:
        return count


def main() -> None:
    """Answers each line of standard input with one line."""
    work = importlib.import_module(os.environ["BENCH_WORK"])
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["one"]:
                print(*fork_one(work), flush=True)
            case ["many", count, in_flight]:
                print(fork_many(work, int(count), int(in_flight)), flush=True)
            case ["stay", count]:
                print(*fork_and_stay(work, int(count)), flush=True)
            case ["reap"]:
                print(reap(), flush=True)


if __name__ == "__main__":
    main()
