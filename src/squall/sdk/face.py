"""The face: one async method as a blocking call and, with `.aio`, an awaitable one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.boundary import boundary

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


class Face(Generic[P, T_co]):
    """`method(...)` blocks, `await method.aio(...)` does not."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[P, Coroutine[Any, Any, T_co]]) -> None:
        self._work = work

    @boundary("call")
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """The result, waited for."""
        return run_blocking(self._work(*args, **kwargs))

    @boundary("call")
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """The result, awaited."""
        return await run_here(self._work(*args, **kwargs))


class ItemsFace(Generic[P, T_co]):
    """The same for what gives items: `for item in method(...)`, `async for item in method.aio(...)`."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[P, AsyncIterator[T_co]]) -> None:
        self._work = work

    @boundary("call")
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[T_co]:
        """The items, waited for one by one."""
        items = self._work(*args, **kwargs)
        while (got := run_blocking(_next(items))) is not None:
            yield from got

    @boundary("call")
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T_co]:
        """The items, awaited one by one."""
        items = self._work(*args, **kwargs)
        while (got := await run_here(_next(items))) is not None:
            yield got[0]


class PagesFace(Generic[P, T_co]):
    """The same for what gives many small items, a page of them at a time: a wait for each would take longer than to fetch it."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[P, AsyncIterator[Sequence[T_co]]]) -> None:
        self._work = work

    @boundary("call")
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[T_co]:
        """The items; each page is waited for."""
        pages = self._work(*args, **kwargs)
        while (got := run_blocking(_next(pages))) is not None:
            yield from got[0]

    @boundary("call")
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T_co]:
        """The items; each page is awaited."""
        pages = self._work(*args, **kwargs)
        while (got := await run_here(_next(pages))) is not None:
            for item in got[0]:
                yield item


async def _next(items: AsyncIterator[T_co]) -> tuple[T_co] | None:
    """The next item in a tuple of its own; None at the end. A StopAsyncIteration would not cross from loop to loop."""
    async for item in items:
        return (item,)
    return None
