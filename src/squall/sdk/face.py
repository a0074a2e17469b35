"""The face: one async method as a blocking call and, with `.aio`, an awaitable one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.boundary import boundary

P = ParamSpec("P")
T = TypeVar("T")


class Face(Generic[P, T]):
    """`method(...)` blocks, `await method.aio(...)` does not."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[P, Coroutine[Any, Any, T]]) -> None:
        self._work = work

    @boundary("call")
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The result, waited for."""
        return run_blocking(self._work(*args, **kwargs))

    @boundary("call")
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The result, awaited."""
        return await run_here(self._work(*args, **kwargs))
