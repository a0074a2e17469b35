"""Batched: single calls, joined into one call with lists."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, overload

from squall.context.marks import METHOD, Batch, batch_of, mark_batch
from squall.model.errors import InvalidError

R = TypeVar("R")


class DecorateBatched(Protocol):
    """What `@squall.batched(...)` is: what takes and gives lists becomes what takes and gives one of each."""

    @overload
    def __call__(
        self, raw: Callable[..., Coroutine[Any, Any, list[R]]], /
    ) -> Callable[..., Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, raw: Callable[..., list[R]], /) -> Callable[..., R]: ...


def batched(*, max_batch_size: int, wait_ms: float) -> DecorateBatched:
    """Joins calls of a function into one that gets a list for each parameter, and gives a list with a value for each call.

    Stands below `@app.function()`, or below `@squall.method()` of a class's only method. Who calls it gives and gets one.
    max_batch_size: how many are joined at most, 1 to 1000. wait_ms: for how many milliseconds the first waits for others, 0 to
    600,000. Raises InvalidError for other numbers, in another place, and for functions that yield or take any number of
    arguments.
    """
    if isinstance(max_batch_size, bool) or not isinstance(max_batch_size, int) or max_batch_size < 1:
        raise InvalidError(f"@squall.batched: max_batch_size is a number from 1 on, not {max_batch_size!r}")
    if isinstance(wait_ms, bool) or not isinstance(wait_ms, int | float):
        raise InvalidError(f"@squall.batched: wait_ms is a number of milliseconds, not {wait_ms!r}")

    def decorate(raw: Callable[..., Any]) -> Any:
        _check(raw)
        single: Any = _single_async(raw) if inspect.iscoroutinefunction(raw) else _single(raw)
        mark_batch(single, Batch(raw, max_batch_size, wait_ms))
        return single

    return decorate


def batch_of_class(methods: dict[str, Callable[..., Any]], *, of: str) -> Batch | None:
    """How calls of a class are joined. Raises InvalidError where other methods are beside the one whose calls are."""
    found = {name: batch for name, raw in methods.items() if (batch := batch_of(raw)) is not None}
    if found and len(methods) > 1:
        raise InvalidError(
            f"{of} has the method {next(iter(found))!r}, which is batched, and others beside it",
            remedy="put them into a class of their own: containers that join calls have one kind of them",
        )
    return next(iter(found.values()), None)


def _check(raw: Any) -> None:
    if not inspect.isfunction(raw) or hasattr(raw, METHOD):
        raise InvalidError(
            f"@squall.batched() decorates a plain function, and {raw!r} is none",
            remedy="write it below `@app.function()` or `@squall.method()`, not above",
        )
    if inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw):
        raise InvalidError(f"{raw.__qualname__!r} yields, and what is batched gives a list")
    kinds = {one.kind for one in inspect.signature(raw).parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        raise InvalidError(
            f"{raw.__qualname__!r} takes any number of arguments, and what is batched has a list for each parameter"
        )


def _single(raw: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(raw)
    def single(*args: Any, **kwargs: Any) -> Any:
        own, lists = _lists(raw, args)
        (value,) = raw(*own, *lists, **{name: [one] for name, one in kwargs.items()})
        return value

    return single


def _single_async(raw: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(raw)
    async def single(*args: Any, **kwargs: Any) -> Any:
        own, lists = _lists(raw, args)
        (value,) = await raw(*own, *lists, **{name: [one] for name, one in kwargs.items()})
        return value

    return single


def _lists(raw: Callable[..., Any], args: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[list[Any]]]:
    """The object of a method as it is, and every argument as a list of one."""
    is_method = next(iter(inspect.signature(raw).parameters), "") == "self"
    own = args[:1] if is_method else ()
    return own, [[one] for one in args[len(own) :]]
