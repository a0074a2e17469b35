"""Secret: what a function's containers are given of one, and what one may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from squall.model.errors import InvalidError

LONGEST: Final = 100_000
"""Bytes of one value: the kernel starts no program with a variable of more than 128 KiB."""

MOST_VARIABLES: Final = 200
MOST_BYTES: Final = 2**20
"""Bytes of all values of one secret together, and of all that travel with one app."""

MOST_SECRETS: Final = 10_000
"""Names of secrets in one record."""

KEPT_VERSIONS: Final = 5
"""How many versions of a secret stay, sealed: running containers have earlier ones, and these are hidden in their logs too."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS: Final = "SQUALL_"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretUse:
    """A secret that the containers of a function are given. No value is part of it.

    name, environment: of one that has a name; an empty environment is that of the app. key: of one whose values came with the
    app, what tells it from the app's others. required: variables that it must have; variables: those that it has, as far
    as that is known.
    """

    name: str = ""
    environment: str = ""
    key: str = ""
    required: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.name) == bool(self.key):
            raise ValueError("a secret has a name, or values that came with its app")


def check_variable(name: Any, value: Any) -> None:
    """Raises InvalidError for what no environment can hold; the message never has the value. None is a value that is not here."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidError(
            f"Secret: {name!r} is no name for an environment variable",
            remedy="use letters, digits and underscores, and begin with no digit",
        )
    if name.startswith(_OURS):
        raise InvalidError(f"Secret: {name} begins with {_OURS}, which is ours", remedy="choose another name")
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidError(
            f"Secret: the value of {name} is of type {type(value).__name__}, not a string",
            remedy=f"write str(...) around the value of {name}",
        )
    try:
        size = len(value.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        # Not as its cause: that has the value.
        raise InvalidError(f"Secret: the value of {name} is no text in UTF-8") from None
    if "\0" in value or size > LONGEST:
        raise InvalidError(
            f"Secret: the value of {name} has a NUL in it, or more than {LONGEST:,} bytes, and no environment can hold it",
            remedy="put what is long into a file",
        )


def check_variables(values: Any) -> dict[str, str]:
    """The variables of one secret. Raises InvalidError, which never has a value."""
    if not isinstance(values, Mapping):
        raise InvalidError("a secret is a dict of variables and their values")
    for name, value in values.items():
        check_variable(name, value)
        if value is None:
            raise InvalidError(
                f"Secret: {name} has no value", remedy="give one, which may be empty, or leave it out"
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidError(f"Secret: the value of {name} is no text in UTF-8") from None
    size = sum(len(name) + len(value.encode()) for name, value in values.items())
    if len(values) > MOST_VARIABLES or size > MOST_BYTES:
        raise InvalidError(
            f"a secret of {len(values)} variables and {size:,} bytes: at most {MOST_VARIABLES} and {MOST_BYTES:,} may be",
            remedy="make several secrets of it",
        )
    return dict(values)
