"""Concurrent: many inputs at once in one container."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from squall.context.marks import METHOD, Together, mark_together
from squall.model.errors import InvalidError

F = TypeVar("F", bound=Callable[..., Any])


def concurrent(*, max_inputs: int, target_inputs: int | None = None) -> Callable[[F], F]:
    """Has each container of a function, or of a class, work on several inputs at once; stands below `@app.function()` or `@app.cls()`.

    What is `async def` runs in tasks on one loop, everything else in a thread for each input. max_inputs: how many at most, 1 to
    1000. target_inputs: with how many more containers are started (as max_inputs); between the two a container has more only
    until these are there, or where there can be none. Each input has its time, its outcome and its cancelling to itself. Raises
    InvalidError for numbers out of bounds, and in another place.
    """
    given = {"max_inputs": max_inputs} | ({} if target_inputs is None else {"target_inputs": target_inputs})
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidError(f"@squall.concurrent: {name} is a number, not {value!r}")

    def decorate(raw: F) -> F:
        if hasattr(raw, METHOD):
            raise InvalidError(
                "@squall.concurrent() decorates a function or a class, and no method: all methods of a class share its containers"
            )
        if not inspect.isfunction(raw) and not inspect.isclass(raw):
            raise InvalidError(
                f"@squall.concurrent() decorates a plain function or class, and {raw!r} is none",
                remedy="write it below `@app.function()` or `@app.cls()`, not above",
            )
        mark_together(raw, Together(max_inputs, target_inputs))
        return raw

    return decorate
