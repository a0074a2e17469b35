"""Secret reads: which variables code has asked for in a template, where no secret is set.

Code that finds a variable missing while it is imported would keep that answer in every container that is forked from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from squall.model.function import Function

HINT = (
    "each container imports the code itself, as secrets are set in containers and in no template: read them inside the "
    "function or in an enter hook without snap=True, and it starts from a template"
)
EVERY = "*"
"""Stands for all variables at once: a copy of the environment, or a walk through it."""

_read: set[str] = set()


class _Watched(os._Environ):  # type: ignore[type-arg]  # the class of os.environ, generic in stubs alone
    """The environment, which notes what it is asked for."""

    def __getitem__(self, key: str) -> str:
        if isinstance(key, str | bytes):
            _read.add(os.fsdecode(key))
        return super().__getitem__(key)  # type: ignore[no-any-return]  # as above

    def __iter__(self) -> Iterator[str]:
        _read.add(EVERY)
        return super().__iter__()


@contextmanager
def noted(function: Function) -> Iterator[None]:
    """Notes what is read meanwhile, in this process and those forked from it, where the function has secrets."""
    if not function.secrets:
        yield
        return
    # In place: whoever has imported `environ` from os has this very object.
    watched: tuple[Any, ...] = (os.environ, os.environb)
    for one in watched:
        one.__class__ = _Watched
    try:
        yield
    finally:
        for one in watched:
            one.__class__ = os._Environ


def read_of(function: Function) -> tuple[str, ...]:
    """The variables of the function's secrets that were read, by name; EVERY where the whole environment was."""
    known = {name for one in function.secrets for name in (*one.variables, *one.required)}
    return tuple(sorted(_read & (known | {EVERY}))) if function.secrets else ()


def refusal(read: tuple[str, ...]) -> dict[str, str]:
    """What a template says that cannot be one."""
    named = ", ".join(name for name in read if name != EVERY)
    what = f"the secret {named}" if named else "the whole environment, with its secrets in it,"
    return {
        "t": "refused",
        "reason": "secret",
        "why": f"the code reads {what} while it is imported, or in a hook with snap=True",
        "hint": HINT,
    }
