"""Inputs: the arguments of each input of a map, taken from iterables, plain or asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

Input = tuple[tuple[Any, ...], dict[str, Any]]
Inputs = Iterator[Input]
AnyIterable = Iterable[Any] | AsyncIterable[Any]

PATIENCE_S = 0.005
"""How long inputs are gathered before those that are there leave."""
MOST_AHEAD = 1024


def inputs_of(iterables: tuple[Any, ...], kwargs: Mapping[str, Any], *, star: bool) -> Any:
    """The arguments of each input: zipped, or, with star, each a sequence of its own.

    An iterator, an asynchronous one where one of the iterables is. Raises TypeError for what is none, as `zip` does.
    """
    shared = dict(kwargs)
    if star and len(iterables) != 1:
        raise TypeError(f"starmap takes one iterable of argument tuples, not {len(iterables)}")
    if any(hasattr(iterable, "__aiter__") for iterable in iterables):
        return _async_inputs(iterables, shared, star=star)
    if star:
        return ((tuple(args), shared) for args in iter(iterables[0]))
    return ((args, shared) for args in zip(*iterables, strict=False))


def collect(inputs: Inputs, most: int) -> tuple[list[Input], bool]:
    """Up to `most` inputs, fewer where they come slowly; and whether there are no more."""
    batch: list[Input] = []
    until_s = time.monotonic() + PATIENCE_S
    for item in inputs:
        batch.append(item)
        if len(batch) >= most or time.monotonic() > until_s:
            return batch, False
    return batch, True


class Ahead:
    """Inputs taken on the caller's loop, ahead of their sending; those of a plain iterator without a task.

    told: called when there are new ones. A context: at its end what is left of an asynchronous iterator is closed.
    """

    def __init__(self, inputs: Any, told: Callable[[], object]) -> None:
        self._inputs = inputs
        self._told = told
        self._there: deque[Input] = deque()
        self._room = asyncio.Event()
        self._over = False
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether `collect` would give something."""
        return self._task is None or self._over or bool(self._there)

    def collect(self, most: int) -> tuple[list[Input], bool] | None:
        """Up to `most` inputs and whether there are no more; None while there is nothing. Raises what the iterator raised."""
        if self._task is None:
            return collect(self._inputs, most)
        if not self.ready:
            return None
        batch = [self._there.popleft() for _ in range(min(most, len(self._there)))]
        self._room.set()
        if not self._there and self._over:
            if self._error is not None:
                raise self._error
            return batch, True
        return batch, False

    async def __aenter__(self) -> Self:
        if hasattr(self._inputs, "__anext__"):
            self._task = asyncio.create_task(self._pull())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _pull(self) -> None:
        try:
            async with contextlib.aclosing(self._inputs) as inputs:
                async for item in inputs:
                    self._there.append(item)
                    self._told()
                    while len(self._there) >= MOST_AHEAD:
                        self._room.clear()
                        await self._room.wait()
        except Exception as error:  # noqa: BLE001 - the iterator is the user's; its consumer gets what it raised
            self._error = error
        self._over = True
        self._told()


async def _async_inputs(
    iterables: tuple[Any, ...], shared: dict[str, Any], *, star: bool
) -> AsyncIterator[Input]:
    sources = [_stepping(iterable) for iterable in iterables]
    while True:
        args: list[Any] = []
        for source in sources:
            try:
                args.append(await anext(source))
            except StopAsyncIteration:
                return
        yield (tuple(args[0]) if star else tuple(args)), shared


async def _stepping(iterable: Any) -> AsyncIterator[Any]:
    if hasattr(iterable, "__aiter__"):
        async for item in iterable:
            yield item
    else:
        for item in iterable:
            yield item
