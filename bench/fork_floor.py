"""Fork floor: a process that has imported what the function needs, and forks itself at each request on its standard input."""

from __future__ import annotations

import importlib
import os
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


def main() -> None:
    """Answers each line of standard input with one line."""
    work = importlib.import_module(os.environ["BENCH_WORK"])
    work.answer()
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["one"]:
                print(*fork_one(work), flush=True)
            case ["many", count, in_flight]:
                print(fork_many(work, int(count), int(in_flight)), flush=True)


if __name__ == "__main__":
    main()
