"""The culprit: which part of a value keeps it from being packed."""

from __future__ import annotations

import pickle
import types
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

from squall.model.errors import (
    ArgumentNotSerializable,
    FeatureUnavailable,
    FunctionNotSerializable,
    ResultNotSerializable,
    SerializationError,
)
from squall.wire.by_value import dumps_by_value

Role: TypeAlias = Literal["value", "call", "result", "function"]

_ERRORS: Final[dict[Role, type[SerializationError]]] = {
    "value": SerializationError,
    "call": ArgumentNotSerializable,
    "result": ResultNotSerializable,
    "function": FunctionNotSerializable,
}
_NAMES: Final[dict[Role, str]] = {
    "value": "the value",
    "call": "the call",
    "result": "the result",
    "function": "the function",
}
# A search that goes on for ever helps nobody: the outer part is then named instead of the inner one.
_DEEPEST: Final = 12
_MOST_PARTS: Final = 20_000


def not_serializable(value: Any, error: Exception, role: Role) -> SerializationError:
    """The error that says which part of `value` made `error`, as exactly as can be found out.

    role "call": value is (args, kwargs), and the part is named by its argument.
    """
    if isinstance(error, FeatureUnavailable):
        return _ERRORS[role](str(error), remedy=error.remedy)
    if _too_deep(error):
        return _ERRORS[role](f"{_NAMES[role]} is nested too deeply to travel", where=_NAMES[role])
    where, part = _NAMES[role], value
    if role == "call":
        where, part = _argument(value)
    path, culprit, reason = _search(part, error)
    place = where + (path if path.startswith(" (") else f" at {path}" if path else "")
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}".removeprefix("builtins.")
    return _ERRORS[role](f"{place} cannot travel: it is a {kind} ({_said(reason)})", where=place)


def _too_deep(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, RecursionError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _said(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) < 500 else text[:500] + "…"


def _argument(call: Any) -> tuple[str, Any]:
    args, kwargs = call
    for number, value in enumerate(args, start=1):
        if _failure(value) is not None:
            return f"argument {number}", value
    for name, value in kwargs.items():
        if _failure(value) is not None:
            return f"argument {name!r}", value
    return "the call", call


def _search(value: Any, error: Exception) -> tuple[str, Any, Exception]:
    """The path from `value` to the innermost part that fails on its own, that part, and how it fails."""
    path, looked_at = "", {id(value)}
    for _ in range(_DEEPEST):
        for name, part in islice(_parts(value), _MOST_PARTS):
            if id(part) in looked_at:
                continue
            failure = _failure(part)
            if failure is not None:
                looked_at.add(id(part))
                path, value, error = path + name, part, failure
                break
        else:
            break
    return path, value, error


def _failure(value: Any) -> Exception | None:
    try:
        pickle.dumps(value, 5)
    except Exception:  # noqa: BLE001 - users' classes take part in this, and raise whatever they like
        try:
            dumps_by_value(value, None, None)
        except Exception as error:  # noqa: BLE001 - the same
            return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What `value` is made of, each part with how one says it in Python."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"[{key!r}]", part
            yield f" (the key {key!r})", key
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif not isinstance(value, (type, types.ModuleType)):
        for name, part in getattr(value, "__dict__", {}).items():
            yield f".{name}", part
        for cls in type(value).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    yield f".{name}", getattr(value, name)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f" (the variable {name!r} it closes over)", cell.cell_contents
        except ValueError:
            continue  # not yet assigned
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f" (the global {name!r} it uses)", function.__globals__[name]
    for index, part in enumerate(function.__defaults__ or ()):
        yield f" (default {index + 1})", part
