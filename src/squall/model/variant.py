"""Variant: a function with some of its options changed, and the text that says so behind its address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from squall.model.errors import InvalidError
from squall.model.function import Function
from squall.model.ids import FunctionId
from squall.model.jsonable import from_json, to_json

MARK: Final = "~"
"""Stands in the name of a variant, between the function's own and what tells it from others."""

_SIGN: Final = "?"
# Of these, what is not changed stays; of the others, a change takes the place of all.
_PARTS: Final = frozenset({"asks", "limits", "scaling", "env"})
_WHOLE: Final = frozenset({"gpu", "retries", "timeout_s", "volumes"})

Changes = Mapping[str, Any]
"""Fields of a function that differ, in their JSON form."""


def with_changes(text: str, changes: Changes) -> str:
    """The address or id of a function, with what is changed of it."""
    return f"{text}{_SIGN}{_written(changes)}" if changes else text


def split_changes(text: str) -> tuple[str, str]:
    """The address or id alone, and what is changed of the function, as it is written; empty for nothing."""
    base, _, changes = text.partition(_SIGN)
    return base, changes


def read_changes(text: str) -> Changes:
    """What a text says that is changed. Raises InvalidError."""
    try:
        changes = json.loads(text)
    except ValueError as problem:
        raise InvalidError(f"{text!r} says nothing of a function's options") from problem
    if not isinstance(changes, dict) or not changes.keys() <= _PARTS | _WHOLE:
        raise InvalidError(
            f"{text!r} changes what no variant can; it can: {', '.join(sorted(_PARTS | _WHOLE))}"
        )
    return changes


def merged(earlier: Changes, later: Changes) -> dict[str, Any]:
    """Both changes, one after the other."""
    both = {**earlier, **later}
    return both | {key: {**earlier[key], **later[key]} for key in _PARTS & earlier.keys() & later.keys()}


def varied(function: Function, changes: Changes) -> Function:
    """The function with these changes, and a name of its own. It keeps no containers without need.

    Raises InvalidError for values that no function can have.
    """
    plain = to_json(function)
    for key, value in changes.items():
        if key not in _PARTS:
            plain[key] = value
        elif isinstance(value, Mapping):
            # Not from `plain`: that leaves out what is as the function's default, which is not its noun's own.
            plain[key] = {**to_json(getattr(function, key)), **value}
        else:
            raise InvalidError(f"with_options of {function.name!r}: {key} has parts, and {value!r} has none")
    plain["scaling"] = {**plain.get("scaling", {}), "min_containers": 0}
    try:
        found = from_json(Function, plain)
    except (ValueError, TypeError) as wrong:
        raise InvalidError(f"with_options of {function.name!r}: {wrong}") from None
    if found.is_generator and found.retries is not None:
        raise InvalidError(
            f"with_options of {function.name!r}: a generator cannot be retried: its consumer has taken items already"
        )
    mark = hashlib.sha256(_written(changes).encode()).hexdigest()[:8]
    return replace(found, name=f"{function.name}{MARK}{mark}", id=FunctionId(f"{function.id}{MARK}{mark}"))


def _written(changes: Changes) -> str:
    return json.dumps(changes, sort_keys=True, separators=(",", ":"))
