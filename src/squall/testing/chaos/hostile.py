"""Hostile calls: functions that break a limit, die, flood or will not end, and what their caller must be told.

A program like `load`: `python hostile.py LEDGER CLIENT KIND`. It notes as trouble whatever is not as promised.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import squall
from squall.model.errors import (
    ContainerExited,
    Error,
    FunctionTimeout,
    InputCancelled,
    InputLost,
    OutOfMemory,
    TooManyProcesses,
)

app = squall.App("hostile")
_MIB = 2**20


@app.function(max_containers=1, cpu=0.1, memory=(64, 128))
def eat(megabytes: int) -> int:
    return len(bytearray(megabytes * _MIB))


@app.function(max_containers=1, cpu=0.1, timeout=4)
def bomb() -> int:
    while True:
        try:
            if os.fork() == 0:
                signal.pause()
        except BlockingIOError:
            time.sleep(0.01)


@app.function(max_containers=2, cpu=0.1)
def poisoned(number: int, poison: int) -> int:
    if number == poison:
        os._exit(139)
    return number


@app.function(max_containers=1, cpu=0.1)
def flood(megabytes: int) -> int:
    for _ in range(megabytes):
        os.write(1, b"x" * 999 + b"\0" + b"y" * (_MIB - 1001) + b"\n")
    return megabytes


@app.function(max_containers=1, cpu=0.1)
def orphan(often: int) -> int:
    for _ in range(often):
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.waitpid(child, 0)
    states = [_state(name) for name in os.listdir("/proc") if name.isdigit()]
    return states.count("Z")


@app.function(max_containers=1, cpu=0.1, timeout=1)
def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        try:
            time.sleep(0.2)
        except BaseException:  # noqa: BLE001, S112 - it is what it is here to do
            continue


@app.function(max_containers=2, cpu=0.1)
def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.function(
    max_containers=2,
    cpu=0.1,
    retries=squall.Retries(max_retries=2, initial_delay=0.1, backoff_coefficient=2.0),
)
def failing(number: int) -> int:
    raise ValueError(f"no {number}")


@app.function(max_containers=2, cpu=0.1, timeout=1)
def on_the_second(number: int) -> int:
    time.sleep(0.9 + number % 5 * 0.05)
    return number


@app.function(max_containers=1, cpu=0.1, scaledown_window=2)
def rare(number: int) -> int:
    return number


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def raised(do: Callable[[], Any]) -> str:
    """The name of the error with which a call ends, a colon, and what it says; its value in words where it ends with none."""
    try:
        return f"the value {do()!r}"
    except Error as error:
        return f"{type(error).__name__}: {error}"


def oom() -> str | None:
    """A container out of memory is named, and its function goes on."""
    return expect(raised(lambda: eat.remote(400)), OutOfMemory) or same(eat.remote(1), _MIB)


def fork_bomb() -> str | None:
    """It meets its limit, and ends as a whole."""
    return expect(raised(bomb.remote), TooManyProcesses, FunctionTimeout)


def poison() -> str | None:
    """One input that kills its container costs no other."""
    found = list(poisoned.map(range(60), kwargs={"poison": 17}, return_exceptions=True))
    wrong = [at for at, got in enumerate(found) if got != at]
    return same(wrong, [17]) or expect(type(found[17]).__name__, ContainerExited, InputLost)


def log_flood() -> str | None:
    """Lines of a megabyte with a NUL in each hinder nobody."""
    return same(flood.remote(40), 40)


def zombies() -> str | None:
    """Orphans are reaped by the first process of the container."""
    left = orphan.remote(300)
    return None if left < 20 else f"{left} zombies"


def ignores_signals() -> str | None:
    """What does not give way at its timeout is killed."""
    return expect(raised(stubborn.remote), FunctionTimeout)


def cancelled() -> str | None:
    """A cancelled call ends within five seconds."""
    call = slow.spawn(60.0)
    time.sleep(0.3)
    began_s = time.monotonic()
    call.cancel()
    took_s = time.monotonic() - began_s
    late = f"cancelling took {took_s:.1f} s" if took_s > 5 else None
    return expect(raised(call.get), InputCancelled) or late


def retry_storm() -> str | None:
    """Inputs that all fail end with what they raised."""
    found = list(failing.map(range(100), return_exceptions=True))
    return same({type(one).__name__ for one in found}, {"ValueError"}) or same(len(found), 100)


def timeout_at_completion() -> str | None:
    """An input whose time is up as it returns has one outcome."""
    found: list[Any] = list(on_the_second.map(range(20), return_exceptions=True))
    wrong = [at for at, got in enumerate(found) if got != at and type(got) is not FunctionTimeout]
    return same(len(found), 20) or same(wrong, [])


def scale_to_zero() -> str | None:
    """A call that comes as the last container goes is answered."""
    for number in range(4):
        if rare.remote(number) != number:
            return f"a wrong answer to {number}"
        time.sleep(1.9 + 0.05 * number)
    return None


def many_threads() -> str | None:
    """Callers in many threads are each answered their own."""
    got: dict[int, float] = {}
    threads = [
        threading.Thread(target=lambda at=at: got.__setitem__(at, slow.remote(at / 1e4))) for at in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return same(got, {at: at / 1e4 for at in range(40)})


KINDS: dict[str, Callable[[], str | None]] = {
    one.__name__: one
    for one in (
        oom,
        fork_bomb,
        poison,
        log_flood,
        zombies,
        ignores_signals,
        cancelled,
        retry_storm,
        timeout_at_completion,
        scale_to_zero,
        many_threads,
    )
}


def expect(got: str, *allowed: type[BaseException]) -> str | None:
    """What is wrong with an error that `raised` gave, or with the name of one; None for nothing."""
    names = [one.__name__ for one in allowed]
    return None if got.partition(":")[0] in names else f"{' or '.join(names)} was due, and it was {got}"


def same(got: object, due: object) -> str | None:
    """What is wrong with a value, or nothing."""
    return None if got == due else f"{due!r} was due, and it was {got!r}"[:400]


def main(arguments: list[str]) -> int:
    """One kind, once."""
    folder, client, kind = Path(arguments[0]), arguments[1], arguments[2]
    fd = os.open(folder / f"{client}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(what: str, *more: Any) -> None:
        os.write(fd, (json.dumps([what, time.monotonic(), *more]) + "\n").encode())

    try:
        with app.run():
            wrong = KINDS[kind]()
    except Exception as error:  # noqa: BLE001 - whatever a client meets is evidence
        wrong = f"{type(error).__name__}: {error}"
    if wrong is not None:
        note("trouble", wrong, kind)
    note("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
