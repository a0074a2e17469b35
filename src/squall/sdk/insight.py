"""Insight: what a server tells of a function: its options, how much it has to do, what its containers print."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.boundary import boundary
from squall.sdk.calls import Target
from squall.sdk.client import Client
from squall.sdk.face import PagesFace
from squall.sdk.shared_object import seconds
from squall.wire.codec import Frame

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionInfo:
    """What a function or a class is.

    id: of this version of it. name, app: its names. environment, version: of a deployed one, else None. is_class,
    is_generator: what it is. methods: of a class, and whether each yields. parameters: of a class, with their types. options: the
    keywords of its decorators and what holds now; of `env` the names alone. variants: those with other options or parameters.
    """

    id: str
    name: str
    app: str
    environment: str | None
    version: int | None
    is_class: bool
    is_generator: bool
    methods: Mapping[str, bool] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentStats:
    """How a function stands. backlog: inputs that wait; num_running_inputs: those that containers have; num_total_runners: containers."""

    backlog: int
    num_running_inputs: int
    num_total_runners: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStats:
    """How much a function has to do, and how its last calls ended, up to a thousand of them.

    backlog, running, calls: inputs that wait, inputs that containers have, and their calls. containers: of which `starting` are
    not ready, and `idle` have nothing to do. arrivals_per_s: inputs a second, lately. oldest_wait_s: how long the oldest input
    has waited. waits_for: why, as a word, or None. recent_calls, recent_inputs, recent_failed: calls that have ended, their
    inputs with an outcome, and those of them that returned nothing.
    """

    backlog: int
    running: int
    calls: int
    containers: int
    starting: int
    idle: int
    arrivals_per_s: float
    oldest_wait_s: float
    waits_for: str | None
    recent_calls: int
    recent_inputs: int
    recent_failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line that a container has printed. stream: "stdout" or "stderr". at_s: when, in seconds since 1970."""

    text: str
    stream: str
    at_s: float
    container: str
    function: str


class Look(Generic[T]):
    """A question about a function, blocking, and with `.aio` awaited."""

    __slots__ = ("_ask", "_target")

    def __init__(self, target: Callable[[], Target], ask: Callable[[Target], Coroutine[Any, Any, T]]) -> None:
        self._target = target
        self._ask = ask

    @boundary("call")
    def __call__(self) -> T:
        """The answer. Raises what the function's verbs raise where it is not there."""
        # Before the loop is entered: a function that was looked up asks the server what it is.
        return run_blocking(self._ask(self._target()))

    @boundary("call")
    async def aio(self) -> T:
        """The answer, awaited."""
        return await run_here(self._ask(self._target()))


class LookAtLogs:
    """`logs(...)`: the lines that the containers of a function have printed; `async for line in f.logs.aio(...)`."""

    __slots__ = ("_target",)

    def __init__(self, target: Callable[[], Target]) -> None:
        self._target = target

    @boundary("call")
    def __call__(
        self, *, follow: bool = False, since: float | None = None, lines: int = 1000
    ) -> Iterator[LogLine]:
        """The lines, the oldest first.

        follow: goes on as more is printed, until the iterator is let go of (False). since: only what is not older than so many
        seconds (all). lines: at most so many of the past. Of a deployed function, also those of versions before.
        """
        head = _wish(self._target(), follow=follow, since=since, lines=lines)
        return PagesFace(_log_lines)(head)

    @boundary("call")
    def aio(
        self, *, follow: bool = False, since: float | None = None, lines: int = 1000
    ) -> AsyncIterator[LogLine]:
        """The lines, awaited one by one."""
        head = _wish(self._target(), follow=follow, since=since, lines=lines)
        return PagesFace(_log_lines).aio(head)


async def info(target: Target) -> FunctionInfo:
    """What a function is."""
    told = await Client.here().answer("function.info", target.head)
    return FunctionInfo(
        id=told["id"],
        name=told["function"],
        app=told["app"],
        environment=told["environment"],
        version=told["version"],
        is_class=told["kind"] == "class",
        is_generator=told["is_generator"],
        methods=told["methods"],
        parameters=told["parameters"],
        options=told["options"],
        variants=tuple(told["variants"]),
    )


async def current_stats(target: Target) -> CurrentStats:
    """How it stands."""
    row = (await Client.here().answer("function.stats", target.head))["functions"][0]
    return CurrentStats(
        backlog=row["backlog"], num_running_inputs=row["running"], num_total_runners=row["containers"]
    )


async def stats(target: Target) -> FunctionStats:
    """How it stands, and how it has done."""
    row = (await Client.here().answer("function.stats", {**target.head, "recent": True}))["functions"][0]
    recent = row["recent"]
    return FunctionStats(
        backlog=row["backlog"],
        running=row["running"],
        calls=row["calls"],
        containers=row["containers"],
        starting=row["starting"],
        idle=row["idle"],
        arrivals_per_s=row["arrivals_per_s"],
        oldest_wait_s=row["oldest_wait_s"],
        waits_for=row["waits_for"],
        recent_calls=recent["calls"],
        recent_inputs=recent["inputs"],
        recent_failed=recent["failed"],
    )


def _wish(target: Target, *, follow: bool, since: float | None, lines: int) -> dict[str, Any]:
    since_s = None if since is None else time.time() - seconds(since, "since")
    return {**target.head, "follow": follow, "since": since_s, "lines": lines}


async def _log_lines(head: dict[str, Any]) -> AsyncIterator[list[LogLine]]:
    """Pages of lines, until the server has no more."""
    pages: asyncio.Queue[list[LogLine] | None] = asyncio.Queue()
    following = asyncio.ensure_future(
        Client.here().follow("logs", head, lambda frame: pages.put_nowait(_lines_in(frame)))
    )
    following.add_done_callback(lambda _: pages.put_nowait(None))
    try:
        while (page := await pages.get()) is not None:
            if page:
                yield page
        await following
    finally:
        following.cancel()


def _lines_in(frame: Frame) -> list[LogLine]:
    head, at = frame.head(), 0
    payload = memoryview(frame.payload)
    function, container = str(head.get("log", "")), str(head.get("container", ""))
    found = []
    for stream, size, when_s in head.get("L", []):
        text = bytes(payload[at : at + size]).decode(errors="replace")
        at += size
        name = "stdout" if stream in {"o", "stdout"} else "stderr"
        found += [
            LogLine(text=line, stream=name, at_s=when_s, container=container, function=function)
            for line in text.splitlines()
        ]
    return found
