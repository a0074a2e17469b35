"""The load: a program of every kind of call, which notes what was accepted and what came back.

It is copied beside the state directory and run there: `python load.py LEDGER CLIENT WISH`, WISH being JSON. What it notes are
lines of JSON, each written whole at the end of a file. What runs in containers prints a line for each execution.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import squall
from squall.model.errors import ConnectionLost, InputLost

app = squall.App("load")
_LARGE = 3_000_000
_PAUSE_S = 0.02


def _execution(key: str) -> str:
    run = os.urandom(6).hex()
    print(f"ran {key} {run}", flush=True)
    return run


@app.function(max_containers=4, cpu=0.1)
def work(key: str, seconds: float = 0.0) -> tuple[str, str]:
    run = _execution(key)
    if seconds:
        time.sleep(seconds)
    return key, run


# As many containers as whoever starts this program says, from the start on and to the end.
_WIDE = int(os.environ.get("CHAOS_CONTAINERS", "1"))


@app.function(min_containers=_WIDE if _WIDE > 1 else 0, max_containers=_WIDE, cpu=0.01, memory=(16, 512))
def wide(key: str, seconds: float = 0.0) -> tuple[str, str]:
    run = _execution(key)
    time.sleep(seconds)
    return key, run


@app.function(max_containers=2, cpu=0.1)
def items(key: str, upto: int) -> Iterator[tuple[str, str, int]]:
    run = _execution(key)
    for number in range(upto):
        time.sleep(_PAUSE_S / 4)
        yield key, run, number


@app.function(max_containers=2, cpu=0.1)
def nest(key: str) -> tuple[str, str]:
    run = _execution(key)
    return work.remote(f"{key}/inner")[0].removesuffix("/inner"), run


@app.function(max_containers=2, cpu=0.1)
def large(key: str, data: bytes) -> tuple[str, str, bytes]:
    return key, _execution(key), sha256(data).digest() * (_LARGE // 32)


class Ledger:
    """Where this client writes down what it was promised and what it got."""

    def __init__(self, folder: Path, client: str) -> None:
        self.path = str(folder / client)
        self._fd = os.open(folder / f"{client}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, *more: Any) -> None:
        """One line, written whole."""
        os.write(self._fd, (json.dumps([what, time.monotonic(), *more]) + "\n").encode())

    def accepted(self, keys: list[str]) -> None:
        """These inputs are on record, or held by this process."""
        self.note("accepted", keys)

    def answer(self, via: str, key: str, run: str, *, right: bool = True) -> None:
        """A result has come."""
        self.note("answer", key, run, via, right)

    def failed(self, key: str, error: BaseException) -> None:
        """An input has ended with an error."""
        self.note("failed", key, type(error).__name__, str(error)[:300])


class Round:
    """One round of calls of each kind, each kind in a thread of its own."""

    def __init__(self, ledger: Ledger, name: str, wish: dict[str, Any]) -> None:
        self._ledger = ledger
        self._name = name
        self._wish = wish

    def run(self) -> None:
        """Returns when all have ended."""
        kinds: dict[str, Callable[[list[str]], None]] = {
            "map": partial(self._map, work),
            "wide": partial(self._map, wide),
            "spawn": self._spawn,
            "spawn_one": self._spawn_each,
            "gen": self._gen,
            "nest": self._nest,
            "large": self._large,
            "call": self._call,
        }
        threads = [
            threading.Thread(target=self._guarded, args=(do, self._keys(kind)), daemon=True)
            for kind, do in kinds.items()
            if self._wish.get(kind)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _keys(self, kind: str) -> list[str]:
        return [f"{self._name}/{kind}/{number}" for number in range(self._wish.get(kind, 0))]

    def _guarded(self, do: Callable[[list[str]], None], keys: list[str]) -> None:
        try:
            do(keys)
        except Exception as wrong:  # noqa: BLE001 - whatever a client meets is evidence
            self._ledger.note("trouble", f"{type(wrong).__name__}: {wrong}", keys[0])

    def _map(self, function: Any, keys: list[str]) -> None:
        self._ledger.accepted(keys)
        seconds = self._wish.get("seconds", 0.0)
        found = function.map(keys, kwargs={"seconds": seconds}, return_exceptions=True)
        for key, got in zip(keys, found, strict=True):
            self._take("map", key, got)

    def _spawn(self, keys: list[str]) -> None:
        call = work.spawn_map(keys)
        self._ledger.accepted(keys)
        for index, key in enumerate(keys):
            self._take("get", key, call.get(index=index))
        again = squall.FunctionCall.from_id(call.object_id)
        for index in range(0, len(keys), 7):
            self._take("get again", keys[index], again.get(index=index))

    def _spawn_each(self, keys: list[str]) -> None:
        """Each durable call by itself; their ids stand in a file beside the ledger."""
        with open(f"{self._ledger.path}.calls", "w", encoding="ascii") as ids:
            for key in keys:
                ids.write(work.spawn(key).object_id + "\n")
                self._ledger.accepted([key])
                self._ledger.answer("spawned", key, "")

    def _gen(self, keys: list[str]) -> None:
        for key in keys:
            self._ledger.accepted([key])
            upto = 20
            try:
                got = list(items.remote_gen(key, upto))
            except (InputLost, ConnectionLost) as lost:
                self._ledger.failed(key, lost)
                continue
            right = [(one[0], one[2]) for one in got] == [(key, number) for number in range(upto)]
            self._ledger.answer("gen", key, got[0][1], right=right and len({one[1] for one in got}) == 1)

    def _nest(self, keys: list[str]) -> None:
        for key in keys:
            self._ledger.accepted([key])
            self._take("nest", key, nest.remote(key))

    def _large(self, keys: list[str]) -> None:
        for key in keys:
            self._ledger.accepted([key])
            data = key.encode() * (_LARGE // len(key))
            name, run, back = large.remote(key, data)
            right = name == key and back[:32] == sha256(data).digest() and len(back) == _LARGE // 32 * 32
            self._ledger.answer("large", key, run, right=right)

    def _call(self, keys: list[str]) -> None:
        for key in keys:
            self._ledger.accepted([key])
            self._take("call", key, work.remote(key))
            time.sleep(_PAUSE_S)

    def _take(self, via: str, key: str, got: Any) -> None:
        if isinstance(got, BaseException):
            self._ledger.failed(key, got)
        else:
            self._ledger.answer(via, key, got[1], right=got[0] == key)


def main(arguments: list[str]) -> int:
    """One round, or rounds for so many seconds."""
    folder, client, wish = Path(arguments[0]), arguments[1], json.loads(arguments[2])
    ledger = Ledger(folder, client)
    until_s = time.monotonic() + wish.get("for_s", 0.0)
    with app.run():
        ledger.note("open")
        number = 0
        while number == 0 or time.monotonic() < until_s:
            Round(ledger, f"{client}.{number}", wish).run()
            number += 1
    ledger.note("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
