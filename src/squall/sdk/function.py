"""Function: what a decorator leaves in place of the user's function, callable here and remotely."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

from squall.context.current import in_container
from squall.model import function as nouns
from squall.model.call import Verb
from squall.model.errors import ExecutionError
from squall.sdk.boundary import boundary
from squall.sdk.calls import ItemCall, Target, call_async, call_blocking
from squall.sdk.client import Client, post
from squall.sdk.declare import Declared
from squall.sdk.function_call import FunctionCall
from squall.sdk.maps import MapCall, results
from squall.sdk.spawn import spawn, spawn_map

P = ParamSpec("P")
R = TypeVar("R")


class Remote(Generic[P, R]):
    """`f.remote(...)`: runs it in a container and gives its value; `await f.remote.aio(...)` does not block."""

    __slots__ = ("_function",)

    def __init__(self, function: Function[P, R]) -> None:
        self._function = function

    @boundary("remote")
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The value. Raises what the function raised, with its remote traceback."""
        function = self._function
        if function.declared.is_generator:
            items: Any = function.remote_gen(*args, **kwargs)
            return items  # type: ignore[no-any-return] - a generator function's R is its iterator
        value: R = call_blocking(function.target(), args, kwargs)
        return value

    @boundary("remote")
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The value, awaited."""
        value: R = await call_async(self._function.target(), args, kwargs)
        return value


class RemoteItems(Generic[P]):
    """`f.remote_gen(...)`: what a generator function yields, each item as it is yielded."""

    __slots__ = ("_function",)

    def __init__(self, function: Function[P, Any]) -> None:
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        """The items. Letting go of the iterator closes the generator in its container."""
        return _items(ItemCall(self._function.target(), args, kwargs))

    @boundary("remote_gen")
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Any]:
        """The items, awaited one by one."""
        call = ItemCall(self._function.target(), args, kwargs)
        post(call.start)
        try:
            while (got := await asyncio.to_thread(call.take))[0]:
                yield got[1]
        finally:
            post(call.cancel)


class Mapped(Generic[R]):
    """`f.map(...)` and `f.starmap(...)`: one call of many inputs, spread over containers."""

    __slots__ = ("_function", "_star")

    def __init__(self, function: Function[Any, R], *, star: bool) -> None:
        self._function = function
        self._star = star

    def __call__(
        self,
        *iterables: Iterable[Any],
        kwargs: Mapping[str, Any] = {},  # noqa: B006 - read only
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> Iterator[R]:
        """The values, in the order of the inputs, or as they come with order_outputs=False.

        Inputs are taken up while outcomes are consumed, at most some thousand ahead. The first exception is raised and
        ends the map; with return_exceptions=True exceptions are values.
        """
        call = self._start(iterables, kwargs)
        return results(call, ordered=order_outputs, keep_errors=return_exceptions)

    @boundary("map")
    async def aio(
        self,
        *iterables: Any,
        kwargs: Mapping[str, Any] = {},  # noqa: B006 - read only
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncIterator[R]:
        """The same, awaited; the iterables may be asynchronous ones."""
        plain = [[item async for item in it] if hasattr(it, "__aiter__") else it for it in iterables]
        found = results(self._start(plain, kwargs), ordered=order_outputs, keep_errors=return_exceptions)
        try:
            while (batch := await asyncio.to_thread(_some, found)) is not None:
                for value in batch:
                    yield value
        finally:
            await asyncio.to_thread(found.close)  # type: ignore[attr-defined] - `results` is a generator

    def _start(self, iterables: Any, kwargs: Mapping[str, Any]) -> MapCall:
        return MapCall(self._function.target(), inputs_of(iterables, kwargs, star=self._star))


class Function(Generic[P, R]):
    """A function that runs in containers: `.remote`, `.map`, `.spawn` and their like, or `.local` in this process."""

    def __init__(self, raw: Callable[P, R], declared: Declared) -> None:
        self.declared = declared
        self.__squall_function__ = raw
        functools.update_wrapper(self, raw)
        self._target: Target | None = None
        self.remote = Remote(self)
        self.remote_gen = RemoteItems(self)
        self.map: Mapped[R] = Mapped(self, star=False)
        self.starmap: Mapped[R] = Mapped(self, star=True)

    def __repr__(self) -> str:
        return f"<squall.Function {self.declared.name!r}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs it here, like `.local`."""
        return self.__squall_function__(*args, **kwargs)

    def __get__(self, instance: object, _owner: type | None = None) -> Any:
        """In a class body it stays what it is: a method of a running container is `@app.cls`'s business."""
        return self

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs it here, in this process, without a container."""
        return self.__squall_function__(*args, **kwargs)

    @boundary("for_each")
    def for_each(
        self,
        *iterables: Iterable[Any],
        kwargs: Mapping[str, Any] = {},  # noqa: B006 - read only
        ignore_exceptions: bool = False,
    ) -> None:
        """Maps for the effects alone: returns when all inputs have ended."""
        for _value in self.map(*iterables, kwargs=kwargs, order_outputs=False, return_exceptions=ignore_exceptions):
            pass

    @boundary("spawn")
    def spawn(self, *args: P.args, **kwargs: P.kwargs) -> FunctionCall[R]:
        """Starts a call and returns at once, when the call is on disk; its id outlives this process."""
        return spawn(self.target(), args, kwargs)

    @boundary("spawn_map")
    def spawn_map(self, *iterables: Iterable[Any], kwargs: Mapping[str, Any] = {}) -> FunctionCall[R]:  # noqa: B006 - read only
        """Starts a map and returns when all its inputs are on disk."""
        return spawn_map(self.target(), inputs_of(iterables, kwargs, star=False), verb=Verb.SPAWN_MAP)

    @property
    def name(self) -> str:
        """Its name within the app."""
        return self.declared.name

    @property
    def spec(self) -> nouns.Function:
        """What the decorator declared."""
        return self.declared.noun

    def run_as(self, target: Target | None) -> None:
        """Where calls go from now on: the app runs, or has ended (None)."""
        self._target = target

    def target(self) -> Target:
        """Where calls go. Raises ExecutionError while the app does not run."""
        if self._target is not None:
            return self._target
        here = in_container()
        if here is not None:
            root = str(self.declared.noun.code.root or "/app")
            self._target = Target(f"{here.app}/{self.declared.name}", root, self.declared.main, Client.here())
            return self._target
        raise ExecutionError(
            f"{self.declared.name!r} is called remotely, but its app does not run",
            remedy="run the file with `squall run FILE`, or call within `with app.run():`",
        )


def inputs_of(iterables: Any, kwargs: Mapping[str, Any], *, star: bool) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of each input: zipped, or, with star, each a sequence of its own."""
    shared = dict(kwargs)
    if star:
        return ((tuple(args), shared) for args in iterables[0])
    return ((args, shared) for args in zip(*iterables, strict=False))


def is_generator(raw: Callable[..., Any]) -> bool:
    """Whether calling it gives a generator, synchronous or not."""
    return inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw)


@boundary("remote_gen")
def _items(call: ItemCall) -> Iterator[Any]:
    post(call.start)
    try:
        while (got := call.take())[0]:
            yield got[1]
    finally:
        post(call.cancel)


def _some(found: Iterator[R]) -> list[R] | None:
    """At least one value, or None at the end."""
    for value in found:
        return [value]
    return None
