"""Hooks: what a class has its container do before the first input and after the last."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from squall.context.marks import Hook, hooks, mark_hook, note_entered
from squall.model.errors import InvalidError

F = TypeVar("F", bound=Callable[..., Any])


def enter(*, snap: bool = False) -> Callable[[F], F]:
    """Has each container of a class call this method once, before its first input; it takes no arguments and may be async.

    Those of base classes come first, then those of the class, in the order of their definition. What it raises is raised
    by the calls that wait for the container.

    snap: whether containers may start from what the hook has made (False). It then runs once in the template, before all hooks
    without it, and sees image, env and parameters, but no network, no secret and no other process; where it needs more than
    that, or leaves what cannot be forked, each container runs it itself and the run says why. So do the first containers.
    """

    def decorate(raw: F) -> F:
        return _marked(raw, Hook("enter", snap=snap))

    return decorate


def exit() -> Callable[[F], F]:  # noqa: A001 - the name that users of this field know
    """Has each container of a class call this method once, after its last input; it takes no arguments and may be async.

    Called when the container goes because it is idle, stopped, or ended by SIGTERM, if its enter hooks have come to their end;
    bounded by the grace that every container has. What it raises is shown in the logs. `.local()` does not call it.
    """

    def decorate(raw: F) -> F:
        return _marked(raw, Hook("exit"))

    return decorate


def _marked(raw: F, hook: Hook) -> F:
    name = f"@squall.{hook.kind}()"
    if not inspect.isfunction(raw):
        raise InvalidError(f"{name} decorates a plain function of a class, and {raw!r} is none")
    if inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw):
        raise InvalidError(
            f"{name} decorates a function that yields nothing, and {raw.__qualname__!r} yields"
        )
    needed = [
        one.name
        for one in list(inspect.signature(raw).parameters.values())[1:]
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if needed:
        raise InvalidError(
            f"{name} of {raw.__qualname__!r}: nobody gives it {needed[0]!r}",
            remedy="what an object is made with is declared with `squall.parameter`",
        )
    mark_hook(raw, hook)
    return raw


def enter_here(instance: object) -> None:
    """Runs the enter hooks of an object in this process, unless they have run. Raises what they raise."""
    if note_entered(instance):
        return
    for name, _hook in hooks(type(instance), "enter"):
        given = getattr(instance, name)()
        if inspect.isawaitable(given):
            asyncio.run(_awaited(given))


async def enter_here_async(instance: object) -> None:
    """The same, awaited."""
    if note_entered(instance):
        return
    for name, _hook in hooks(type(instance), "enter"):
        given = getattr(instance, name)()
        if inspect.isawaitable(given):
            await given


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
