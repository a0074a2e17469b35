"""Parameter: a typed value that a class is made with, declared in its body."""

from __future__ import annotations

import inspect
import typing
from typing import Any, TypeVar, overload

from squall.model import parameters as nouns
from squall.model.errors import InvalidError
from squall.model.parameters import KINDS

T = TypeVar("T")


class _Missing:
    def __repr__(self) -> str:
        return "<none>"


_MISSING: Any = _Missing()


class Declaration:
    """What `squall.parameter(...)` leaves in the body of a class until the class is declared."""

    __slots__ = ("default", "init")

    def __init__(self, default: Any, *, init: bool) -> None:
        self.default = default
        self.init = init

    @property
    def is_required(self) -> bool:
        """Whether an object cannot be made without it."""
        return self.default is _MISSING


@overload
def parameter(*, default: T, init: bool = True) -> T: ...
@overload
def parameter(*, init: bool = True) -> Any: ...
def parameter(*, default: Any = _MISSING, init: bool = True) -> Any:
    """Declares what objects of a class differ in, `size: str = squall.parameter()`; each set of values has its own containers.

    Its type is str, int, float, bool or bytes. default: its value where none is given; without one it has to be given. init:
    whether it is given when an object is made; if not, it is an attribute that starts with the default. Making an object
    raises ParameterInvalid for values that are missing, unknown or of another type.
    """
    return Declaration(default, init=init)


def declared_parameters(cls: type) -> tuple[nouns.Parameter, ...]:
    """The parameters of a class, those of its bases first. Raises InvalidError for one whose type is none of KINDS."""
    found: dict[str, nouns.Parameter] = {}
    for name, declaration in _declarations(cls).items():
        if not declaration.init:
            continue
        kind = _kind(cls, name)
        one = nouns.Parameter(name=name, kind=kind, required=declaration.is_required)
        if not declaration.is_required:
            plain = nouns.to_plain(one, declaration.default, of=cls.__qualname__)
            one = nouns.Parameter(name=name, kind=kind, default=plain)
        found[name] = one
    return tuple(found.values())


def starting_values(cls: type) -> dict[str, Any]:
    """The attributes that objects start with and nobody gives. Raises InvalidError for one without a default."""
    found: dict[str, Any] = {}
    for name, declaration in _declarations(cls).items():
        if declaration.init:
            continue
        if declaration.is_required:
            raise InvalidError(f"the parameter {name!r} of {cls.__qualname__} has init=False and no default")
        found[name] = declaration.default
    return found


def _declarations(cls: type) -> dict[str, Declaration]:
    found: dict[str, Declaration] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Declaration):
                found[name] = value
            else:
                found.pop(name, None)
    return found


def _kind(cls: type, name: str) -> str:
    for base in cls.__mro__:
        hint = _hint(base, name)
        if hint is None:
            continue
        if isinstance(hint, str) and hint not in KINDS:
            hint = _opened(base, name)
        kind = hint if isinstance(hint, str) else getattr(hint, "__name__", "")
        if kind in KINDS and hint in (kind, KINDS[kind]):
            return kind
        raise InvalidError(
            f"the parameter {name!r} of {cls.__qualname__} has the type {hint!r}",
            remedy=f"use one of {', '.join(KINDS)}; what is more than that can be loaded by its name in an enter hook",
        )
    raise InvalidError(
        f"the parameter {name!r} of {cls.__qualname__} has no type",
        remedy=f"write one: `{name}: str = squall.parameter()`",
    )


def _hint(base: type, name: str) -> Any:
    """The annotation that this very class has, as it stands there."""
    try:
        return inspect.get_annotations(base).get(name)
    except Exception:  # noqa: BLE001 - from Python 3.14 on, reading one evaluates it, and it may say anything
        return None


def _opened(base: type, name: str) -> Any:
    try:
        return typing.get_type_hints(base).get(name)
    except Exception as wrong:
        raise InvalidError(f"the annotations of {base.__qualname__} cannot be read: {wrong}") from wrong
