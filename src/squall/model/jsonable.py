"""JSON forms of the nouns: dataclasses to plain values and back, unknown keys refused."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(noun: Any) -> Any:
    """The plain form of a noun: dicts, lists, strings, numbers; fields at their default are left out."""
    if is_dataclass(noun) and not isinstance(noun, type):
        return {
            f.name: to_json(getattr(noun, f.name))
            for f in fields(noun)
            if getattr(noun, f.name) != _default(f)
        }
    if isinstance(noun, tuple | list | frozenset | set):
        return [to_json(item) for item in noun]
    if isinstance(noun, dict):
        return {str(key): to_json(value) for key, value in noun.items()}
    return noun


def from_json(cls: type[T], plain: Any) -> T:
    """The noun of this class. Raises ValueError naming the field when a key is unknown or has a wrong type."""
    value = _read(cls, plain, cls.__name__)
    return typing.cast("T", value)


def _default(f: Any) -> Any:
    if f.default is not MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not MISSING else MISSING


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read(kind: Any, plain: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return plain
    if origin in (typing.Union, types.UnionType):
        if plain is None and type(None) in args:
            return None
        return _read(next(arg for arg in args if arg is not type(None)), plain, where)
    if origin is typing.Literal:
        if plain not in args:
            raise ValueError(f"{where} is none of {', '.join(map(repr, args))}: {plain!r}")
        return plain
    if is_dataclass(kind):
        return _read_noun(typing.cast("type", kind), plain, where)
    if origin is tuple:
        return tuple(_read(args[0], item, where) for item in _a(list, plain, where))
    if origin is list:
        return [_read(args[0], item, where) for item in _a(list, plain, where)]
    if origin is dict:
        return {key: _read(args[1], value, f"{where}.{key}") for key, value in _a(dict, plain, where).items()}
    if kind is float:
        return float(_a((int, float), plain, where))
    return _a(getattr(kind, "__supertype__", kind), plain, where)


def _read_noun(cls: type, plain: Any, where: str) -> Any:
    hints = _hints(cls)
    unknown = set(_a(dict, plain, where)) - set(hints)
    if unknown:
        raise ValueError(f"{where} has no field {sorted(unknown)[0]!r}")
    try:
        return cls(**{key: _read(hints[key], value, f"{where}.{key}") for key, value in plain.items()})
    except TypeError as missing:
        raise ValueError(f"{where}: {missing}") from missing


def _a(kind: Any, plain: Any, where: str) -> Any:
    if not isinstance(plain, kind) or (isinstance(plain, bool) and kind is not bool):
        raise ValueError(f"{where} is of the wrong type: {type(plain).__name__}")
    return plain
