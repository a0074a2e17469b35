"""Entrypoint: a local function as a command, its parameters as typed flags."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from squall.model.errors import InvalidError

_PLAIN: dict[Any, str] = {str: "TEXT", int: "INTEGER", float: "FLOAT", bool: "BOOLEAN", Path: "PATH"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One parameter as a flag. kind: a type, a tuple of choices, or datetime; many: may be given several times."""

    name: str
    kind: Any
    required: bool
    default: Any = None
    many: bool = False

    @property
    def option(self) -> str:
        """How it is written: `--max-tokens`."""
        return "--" + self.name.replace("_", "-")


class LocalEntrypoint:
    """A local function that `squall run` calls; calling it runs it here."""

    def __init__(self, app: Any, raw: Callable[..., Any], name: str) -> None:
        self.app = app
        self.raw = raw
        self.name = name
        self.__doc__ = raw.__doc__
        self.__name__ = getattr(raw, "__name__", name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs it here."""
        return self.raw(*args, **kwargs)

    def flags(self) -> tuple[Flag, ...]:
        """The parameters as flags. Raises InvalidError for one whose type no flag can carry."""
        return flags_of(self.raw, what=f"the entrypoint {self.name!r}")


def flags_of(raw: Callable[..., Any], *, what: str) -> tuple[Flag, ...]:
    """The parameters of a function as flags; what: how messages call it."""
    try:
        hints = typing.get_type_hints(raw)
    except Exception as wrong:
        raise InvalidError(f"the annotations of {what} cannot be read: {wrong}") from wrong
    found: list[Flag] = []
    for name, parameter in inspect.signature(raw).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        guess = str if required or parameter.default is None else type(parameter.default)
        kind, many = _kind(hints.get(name, guess), name, what)
        default = None if required else parameter.default
        found.append(Flag(name=name, kind=kind, required=required, default=default, many=many))
    return tuple(found)


def _kind(hint: Any, name: str, what: str) -> tuple[Any, bool]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [arg for arg in args if arg is not type(None)]
        if len(inner) == 1:
            return _kind(inner[0], name, what)
    if origin is Literal:
        return tuple(str(choice) for choice in args), False
    if origin in (list, tuple) and args:
        return _kind(args[0], name, what)[0], True
    if hint in _PLAIN or _is_instant(hint):
        return hint, False
    if hint is Any:
        return str, False
    raise InvalidError(
        f"the parameter {name!r} of {what} has the type {hint!r}, which no flag can carry",
        remedy="str, int, float, bool, Path, datetime, Literal, Optional and list of these can be flags",
    )


def _is_instant(hint: Any) -> bool:
    import datetime

    return hint is datetime.datetime
