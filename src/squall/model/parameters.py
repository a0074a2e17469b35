"""Parameters: the typed values that a class is made with, checked, and named by one short key."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from squall.model.errors import ParameterInvalid

KINDS: dict[str, type] = {"str": str, "int": int, "bool": bool, "float": float, "bytes": bytes}
MOST_BYTES = 16 * 1024
"""How much the values of one pool may have together, in their JSON form."""
MOST_BITS = 63
KEY_LENGTH = 12
POOL = "@"
"""Stands between the name of a class and the key of the values that its objects are made with."""
_BYTES = "base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a class. kind: one of KINDS; default: in its JSON form, and none where it is required."""

    name: str
    kind: str
    required: bool = False
    default: Any = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a parameter is one of {', '.join(KINDS)}, not {self.kind}")


def bound(
    parameters: tuple[Parameter, ...], args: tuple[Any, ...], given: Mapping[str, Any], *, of: str
) -> dict[str, Any]:
    """The value of every parameter, in its JSON form and in the order of the parameters.

    of: how the class is called in messages. Raises ParameterInvalid for one that is not there, given twice, missing, or of
    another type.
    """
    if len(args) > len(parameters):
        raise ParameterInvalid(f"{of} takes {len(parameters)} parameters, and {len(args)} were given")
    values: dict[str, Any] = dict(zip((one.name for one in parameters), args, strict=False))
    known = {one.name for one in parameters}
    for name, value in given.items():
        if name not in known:
            there = f"it has: {', '.join(sorted(known))}" if known else "it has none"
            raise ParameterInvalid(f"{of} has no parameter {name!r}; {there}")
        if name in values:
            raise ParameterInvalid(f"{of} got the parameter {name!r} twice")
        values[name] = value
    found: dict[str, Any] = {}
    for one in parameters:
        if one.name in values:
            found[one.name] = to_plain(one, values[one.name], of=of)
        elif one.required:
            raise ParameterInvalid(f"{of} needs the parameter {one.name!r}: {one.kind}")
        else:
            found[one.name] = one.default
    if len(json.dumps(found)) > MOST_BYTES:
        raise ParameterInvalid(f"the parameters of {of} have more than {MOST_BYTES} bytes together")
    return found


def to_plain(one: Parameter, value: Any, *, of: str) -> Any:
    """A value in its JSON form. Raises ParameterInvalid where it is none of the parameter's type."""
    if one.kind == "float" and type(value) is int and value.bit_length() <= MOST_BITS:
        value = float(value)
    if type(value) is not KINDS[one.kind]:
        raise ParameterInvalid(
            f"the parameter {one.name!r} of {of} is {one.kind}, not {type(value).__name__}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterInvalid(f"the parameter {one.name!r} of {of} is a number, not {value}")
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ParameterInvalid(f"the parameter {one.name!r} of {of} has more than {MOST_BITS} bits")
    return {_BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def checked(parameters: tuple[Parameter, ...], plain: Any, *, of: str) -> dict[str, Any]:
    """The same for values that somebody says are in their JSON form. Raises ParameterInvalid."""
    if not isinstance(plain, dict):
        raise ParameterInvalid(f"the parameters of {of} are not given by name")
    try:
        opened = {name: to_value(value) for name, value in plain.items()}
    except ValueError as wrong:
        raise ParameterInvalid(f"a parameter of {of} cannot be read: {wrong}") from None
    return bound(parameters, (), opened, of=of)


def to_value(plain: Any) -> Any:
    """What a JSON form stands for. Raises ValueError for a form that is none."""
    if not isinstance(plain, dict):
        return plain
    if set(plain) != {_BYTES} or not isinstance(plain[_BYTES], str):
        raise ValueError("bytes are written in base64")
    return base64.b64decode(plain[_BYTES], validate=True)


def defaults(parameters: tuple[Parameter, ...]) -> dict[str, Any] | None:
    """The values of a class that is made without any; None where one is required."""
    if any(one.required for one in parameters):
        return None
    return {one.name: one.default for one in parameters}


def key_of(values: Mapping[str, Any]) -> str:
    """The short name of these values: the same for the same ones, and for no others."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
