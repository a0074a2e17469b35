"""Callee: what an input calls: the user's function, or a method of the one object that the container has."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from squall.context import marks
from squall.model.errors import InvalidError
from squall.model.function import Function
from squall.model.parameters import to_value


@dataclass(frozen=True, slots=True)
class Callee:
    """One thing to call, and how."""

    call: Callable[..., Any]
    is_generator: bool
    is_coroutine: bool

    @property
    def is_async(self) -> bool:
        """Whether it runs on the loop."""
        return self.is_coroutine or inspect.isasyncgenfunction(self.call)


def make_object(function: Function, cls: Any) -> Any:
    """The object of a class, after the enter hooks that a template may run; None of a function.

    Raises what these raise, with a note of which it was. What of it is async has a loop of its own, which is gone then: no
    loop outlives a fork.
    """
    if not function.methods:
        return None
    made = cls(**{name: to_value(plain) for name, plain in (function.values or {}).items()})
    marks.note_entered(made)
    for name in snap_hooks(cls):
        with _named(cls, name, marks.Hook("enter", snap=True)):
            given = getattr(made, name)()
            if inspect.isawaitable(given):
                asyncio.run(_awaited(given))
    return made


def snap_hooks(cls: Any) -> list[str]:
    """The names of the enter hooks that a template may run."""
    return [name for name, hook in marks.hooks(cls, "enter") if hook.snap]


@contextmanager
def _named(cls: Any, name: str, hook: marks.Hook) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        given = "snap=True" if hook.snap else ""
        error.add_note(f"raised in {cls.__qualname__}.{name}, which @squall.enter({given}) decorates")
        raise


class Callees:
    """All that inputs of this container can call. only: the one of a function; a class has one for each of its methods."""

    def __init__(self, function: Function, loaded: Callable[..., Any], made: Any) -> None:
        self._function = function
        self._loaded: Any = loaded
        self._named: dict[str, Callee] = {}
        self._object: Any = made
        self._has_entered = False
        self.only = None if function.methods else callee_of(loaded, yields=function.is_generator)
        self._loop: asyncio.Runner | None = None

    @property
    def loop(self) -> asyncio.Runner:
        """The loop of the container, on which everything async of it runs."""
        if self._loop is None:
            self._loop = asyncio.Runner()
        return self._loop

    @property
    def running(self) -> asyncio.AbstractEventLoop | None:
        """The same, where there is one already."""
        return self._loop.get_loop() if self._loop is not None else None

    @property
    def any_one(self) -> Callee:
        """The one of a class that has one method."""
        return next(iter(self._named.values()))

    @property
    def has_async(self) -> bool:
        """Whether some of them run on the loop."""
        there = (self.only,) if self.only is not None else tuple(self._named.values())
        return any(one.is_async for one in there)

    def enter(self) -> None:
        """Runs the enter hooks that are each container's own. Raises what they raise, with a note of which it was."""
        if self.only is not None:
            return
        cls, made = self._loaded, self._object
        for name, hook in marks.hooks(cls, "enter"):
            if not hook.snap:
                with _named(cls, name, hook):
                    self._run_hook(name)
        self._has_entered = True
        for one in self._function.methods:
            raw = marks.methods(cls)[one.name]
            self._named[one.name] = callee_of(raw.__get__(made), yields=one.is_generator)

    def leave(self) -> None:
        """Runs the exit hooks; what one raises is shown, and the next one runs."""
        if self._has_entered:
            for name, _hook in marks.hooks(self._loaded, "exit"):
                try:
                    self._run_hook(name)
                except Exception:  # noqa: BLE001 - the container ends: what its hooks raise is shown, and nothing waits for it
                    sys.excepthook(*sys.exc_info())
        if self._loop is not None:
            self._loop.close()

    def of(self, args: tuple[Any, ...]) -> tuple[Callee, tuple[Any, ...]]:
        """What an input calls, and its own arguments. Raises InvalidError for a method that is not there."""
        if self.only is not None:
            return self.only, args
        found = self._named.get(args[0]) if args and isinstance(args[0], str) else None
        if found is None:
            there = ", ".join(self._named)
            raise InvalidError(f"{self._function.name} has no method {args[:1]!r}; it has: {there}")
        return found, args[1:]

    def _run_hook(self, name: str) -> None:
        given = getattr(self._object, name)()
        if inspect.isawaitable(given):
            self.loop.run(_awaited(given))


def callee_of(call: Callable[..., Any], *, yields: bool) -> Callee:
    """A function as what is called."""
    return Callee(call, yields, inspect.iscoroutinefunction(call))


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
