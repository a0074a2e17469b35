"""Classes for the tests: hooks, methods of every kind, parameters, inheritance."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator

import squall

app = squall.App("classes")


@app.cls(max_containers=1)
class Ledger:
    """Lines that all containers write: they share no files."""

    @squall.enter()
    def up(self) -> None:
        self.kept: dict[str, list[str]] = {}

    @squall.method()
    def note(self, key: str, line: str) -> int:
        self.kept.setdefault(key, []).append(line)
        return len(self.kept[key])

    @squall.method()
    def lines(self, key: str) -> list[str]:
        return self.kept.get(key, [])


def note(key: str, line: str) -> int:
    """How many lines there are under this key now."""
    return Ledger().note.remote(key, line)


class Base:
    @squall.enter()
    def first(self) -> None:
        self.order = ["base"]

    @squall.enter()
    def overridden(self) -> None:
        self.order.append("not this one")

    @squall.method()
    def inherited(self) -> str:
        return f"{type(self).__name__} {self.order}"


@app.cls(max_containers=2, scaledown_window=2)
class Counter(Base):
    start: int = squall.parameter(default=10)
    label: str = squall.parameter(default="plain")
    data: bytes = squall.parameter(default=b"\x00")
    notes: str = squall.parameter(default="", init=False)

    def __init__(self) -> None:
        self.made = f"{self.label} {self.start} {self.data!r} {self.notes!r}"

    @squall.enter()
    async def loads(self) -> None:
        await asyncio.sleep(0)
        self.order.append("own")
        self.seen = self.start
        self.me = uuid.uuid4().hex
        self.loop = id(asyncio.get_running_loop())

    @squall.enter()
    def overridden(self) -> None:
        self.order.append("overridden")

    @squall.method()
    def add(self, by: int = 1) -> int:
        self.seen += by
        return self.seen

    @squall.method()
    async def where(self) -> tuple[str, bool, str]:
        return self.me, id(asyncio.get_running_loop()) == self.loop, self.made

    @squall.method()
    def numbers(self, upto: int, *, raises: bool = False) -> Iterator[int]:
        yield from range(upto)
        if raises:
            raise ValueError(f"only {upto}")

    @squall.method()
    async def numbers_async(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    @squall.method()
    def calls_others(self, number: int) -> list[int]:
        # mypy does not see what a method says of the classes that it decorates.
        inner = Counter(start=100, label="inner")  # type: ignore[call-arg]
        return [self.double(number), inner.double.remote(number)]

    @squall.method()
    def double(self, number: int) -> int:
        return 2 * number


@app.cls(max_containers=1, scaledown_window=2)
class Noted:
    key: str = squall.parameter()

    @squall.enter()
    def up(self) -> None:
        note(self.key, "enter")

    @squall.method()
    def work(self, seconds: float = 0.0) -> int:
        note(self.key, "work")
        try:
            time.sleep(seconds)
        finally:
            note(self.key, "over")
        return os.getpid()

    @squall.exit()
    def breaks(self) -> None:
        note(self.key, "exit")
        raise ValueError("an exit hook that raises")

    @squall.exit()
    async def goes_on(self) -> None:
        await asyncio.sleep(0)
        note(self.key, "exit too")


@app.cls(min_containers=1)
class Kept:
    """Can never be entered, and is kept alive all the same."""

    @squall.enter()
    def wants_more(self) -> None:
        note("kept", "enter")
        raise LookupError("no weights here either")

    @squall.method()
    def never(self) -> None:
        """Cannot be reached."""


@app.cls()
class Broken:
    key: str = squall.parameter()

    @squall.enter()
    def wants_more(self) -> None:
        note(self.key, "enter")
        raise LookupError("no weights here")

    @squall.method()
    def never(self) -> None:
        """Cannot be reached."""


@app.cls(max_containers=1)
class Killed:
    """Its enter hook kills its container the first time."""

    key: str = squall.parameter()

    @squall.enter()
    def up(self) -> None:
        if note(self.key, "enter") == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    @squall.method()
    def work(self) -> str:
        return "done"


@app.cls(retries=squall.Retries(max_retries=2, initial_delay=0.0))
class Tried:
    key: str = squall.parameter()

    @squall.method()
    def work(self) -> int:
        tries = note(self.key, "work")
        if tries < 2:
            raise ValueError("not yet")
        return tries

    @squall.method()
    def items(self) -> Iterator[int]:
        note(self.key, "items")
        yield 1
        raise ValueError("after one")
