"""Verbs: the ways in which a function is called, each blocking, and with `.aio` awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from squall.model.call import Verb
from squall.model.errors import InvalidError
from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.boundary import boundary
from squall.sdk.calls import Target, call_async, call_blocking
from squall.sdk.function_call import FunctionCall
from squall.sdk.inputs import AnyIterable, Inputs, inputs_of
from squall.sdk.items import ItemCall, items, items_async
from squall.sdk.maps import MapCall, results, results_async
from squall.sdk.spawn import spawn, spawn_map

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
Kwargs = Mapping[str, Any]
NO_KWARGS: Kwargs = {}


class Callee(Protocol):
    """What a verb needs to know of its function."""

    @property
    def name(self) -> str:
        """Its name within its app."""

    @property
    def is_generator(self) -> bool:
        """Whether it yields."""

    def target(self) -> Target:
        """Where calls go. Raises ExecutionError while the app does not run."""


class Remote(Generic[P, R_co]):
    """`f.remote(...)`: runs it in a container and gives its value; `await f.remote.aio(...)` does not block."""

    __slots__ = ("_function",)

    def __init__(self, function: Callee) -> None:
        self._function = function

    @boundary("remote")
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The value that the function returned in a container; for a generator function its items.

        Raises what the function raised, with the lines that ran there; FunctionTimeout, OutOfMemory and their like
        for a limit; ArgumentNotSerializable for what cannot travel.
        """
        function = self._function
        if function.is_generator:
            # A generator function's R is its iterator.
            return cast("R_co", items(ItemCall(function.target(), args, kwargs)))
        return cast("R_co", call_blocking(function.target(), args, kwargs))

    @boundary("remote")
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The value, awaited."""
        function = self._function
        if function.is_generator:
            return cast("R_co", items_async(ItemCall(function.target(), args, kwargs)))
        return cast("R_co", await call_async(function.target(), args, kwargs))


class RemoteItems(Generic[P]):
    """`f.remote_gen(...)`: what a generator function yields, each item as it is yielded."""

    __slots__ = ("_function",)

    def __init__(self, function: Callee) -> None:
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        """The items that a generator function yields, each as it is yielded.

        Letting go of the iterator closes the generator in its container. Raises InvalidError for a function that is
        no generator function, and what the function raises, after the items before it.
        """
        return items(self._call(args, kwargs))

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Any]:
        """The items, awaited one by one."""
        return items_async(self._call(args, kwargs))

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ItemCall:
        function = self._function
        if not function.is_generator:
            raise InvalidError(
                f"{function.name!r} yields nothing: it is no generator function",
                remedy=f"call it with `{function.name}.remote(...)`",
            )
        return ItemCall(function.target(), args, kwargs)


class Mapped(Generic[R_co]):
    """`f.map(...)` and `f.starmap(...)`: one call of many inputs, spread over containers."""

    __slots__ = ("_function", "_star")

    def __init__(self, function: Callee, *, star: bool) -> None:
        self._function = function
        self._star = star

    def __call__(
        self,
        *iterables: Iterable[Any],
        kwargs: Kwargs = NO_KWARGS,
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> Iterator[R_co]:
        """The values, in the order of the inputs, or as they come with order_outputs=False.

        Several iterables are arguments side by side, as many as the shortest has. Inputs are taken up by the thread
        that consumes the values, some thousand ahead of it, so an endless iterable is fine, and one that waits makes
        values wait. The first exception is raised and ends the map, as letting go of the iterator does; with
        return_exceptions=True exceptions are values.
        """
        target = called_often(self._function, "starmap" if self._star else "map")
        inputs: Inputs = inputs_of(iterables, kwargs, star=self._star)
        return results(MapCall(target, inputs), ordered=order_outputs, keep_errors=return_exceptions)

    def aio(
        self,
        *iterables: AnyIterable,
        kwargs: Kwargs = NO_KWARGS,
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncIterator[R_co]:
        """The same, awaited; the iterables may be asynchronous ones, whose waiting keeps no value back."""
        target = called_often(self._function, "starmap" if self._star else "map")
        inputs = inputs_of(iterables, kwargs, star=self._star)
        return results_async(MapCall(target, inputs), ordered=order_outputs, keep_errors=return_exceptions)


class ForEach:
    """`f.for_each(...)`: a map for its effects alone."""

    __slots__ = ("_mapped",)

    def __init__(self, mapped: Mapped[Any]) -> None:
        self._mapped = mapped

    @boundary("for_each")
    def __call__(
        self, *iterables: Iterable[Any], kwargs: Kwargs = NO_KWARGS, ignore_exceptions: bool = False
    ) -> None:
        """Returns when all inputs have ended. Raises the first exception, unless they are ignored."""
        for _ in self._mapped(
            *iterables, kwargs=kwargs, order_outputs=False, return_exceptions=ignore_exceptions
        ):
            pass

    @boundary("for_each")
    async def aio(
        self, *iterables: AnyIterable, kwargs: Kwargs = NO_KWARGS, ignore_exceptions: bool = False
    ) -> None:
        """The same, awaited."""
        async for _ in self._mapped.aio(
            *iterables, kwargs=kwargs, order_outputs=False, return_exceptions=ignore_exceptions
        ):
            pass


class Spawn(Generic[P, R_co]):
    """`f.spawn(...)`: a call whose outcome is fetched later, by this process or another."""

    __slots__ = ("_function",)

    def __init__(self, function: Callee) -> None:
        self._function = function

    @boundary("spawn")
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> FunctionCall[R_co]:
        """Starts a call and returns when the call is on disk; its id outlives this process."""
        return run_blocking(spawn(called_often(self._function, "spawn"), args, kwargs))

    @boundary("spawn")
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> FunctionCall[R_co]:
        """The same, awaited."""
        return await run_here(spawn(called_often(self._function, "spawn"), args, kwargs))


class SpawnMap(Generic[R_co]):
    """`f.spawn_map(...)`: a map whose outcomes are fetched later, by this process or another."""

    __slots__ = ("_function",)

    def __init__(self, function: Callee) -> None:
        self._function = function

    @boundary("spawn_map")
    def __call__(self, *iterables: Iterable[Any], kwargs: Kwargs = NO_KWARGS) -> FunctionCall[R_co]:
        """Starts a map and returns when all its inputs are on disk; each iterable gives one argument of each input."""
        target = called_often(self._function, "spawn_map")
        call = spawn_map(target, verb=Verb.SPAWN_MAP)
        inputs: Inputs = inputs_of(iterables, kwargs, star=False)
        while (sending := call.next(inputs)) is not None:
            run_blocking(sending)
        return FunctionCall(call.id, root=target.root)

    @boundary("spawn_map")
    async def aio(self, *iterables: AnyIterable, kwargs: Kwargs = NO_KWARGS) -> FunctionCall[R_co]:
        """The same, awaited; the iterables may be asynchronous ones."""
        target = called_often(self._function, "spawn_map")
        call = spawn_map(target, verb=Verb.SPAWN_MAP)
        inputs = inputs_of(iterables, kwargs, star=False)
        while (sending := await call.next_async(inputs)) is not None:
            await run_here(sending)
        return FunctionCall(call.id, root=target.root)


def called_often(function: Callee, verb: str) -> Target:
    """Where calls go whose outcomes are values. Raises InvalidError for a generator function, which gives items."""
    name = function.name
    if function.is_generator:
        raise InvalidError(
            f"{name!r} is a generator function, and `.{verb}` gives one value an input",
            remedy=f"call it with `{name}.remote_gen(...)`, or return a list",
        )
    return function.target()
