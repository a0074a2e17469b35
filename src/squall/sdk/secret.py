"""Secret: variables that reach what needs them and are shown nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from squall.context.current import in_container
from squall.model.errors import InvalidError

LONGEST: Final = 100_000
"""Bytes of one value: the kernel starts no program with a variable of more than 128 KiB."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS: Final = "SQUALL_"


class Secret:
    """Variables whose values are no part of an image: they are set for the steps that are given the secret, and kept nowhere.

    Its names are shown, its values are not: neither where it is printed, nor in logs. Where a secret itself travels, as
    with code that mentions it, its values stay here.
    """

    __slots__ = ("_values", "names")

    _values: dict[str, str | None]
    names: tuple[str, ...]

    def __init__(self) -> None:
        raise InvalidError(
            "a secret is made of something",
            remedy='write `Secret.from_dict({"NAME": value})` or `Secret.from_local_environ(["NAME"])`',
        )

    @staticmethod
    def from_dict(variables: Mapping[str, str | None]) -> Secret:
        """A secret of these variables. A value of None is one that is not here, such as in a container.

        Raises InvalidError that names the variable.
        """
        if not isinstance(variables, Mapping):
            raise InvalidError(f"Secret.from_dict takes a dict, not {type(variables).__name__}")
        for name, value in variables.items():
            _check(name, value)
        return _made(variables)

    @staticmethod
    def from_local_environ(names: Iterable[str]) -> Secret:
        """A secret of these variables of the environment that the program is started in.

        In a container, which has another environment, only the names. Raises InvalidError for one that is not set.
        """
        if isinstance(names, str):
            raise InvalidError("Secret.from_local_environ takes a list of names", remedy=f"write [{names!r}]")
        wanted = list(names)
        for name in wanted:
            _check(name, None)
        if in_container() is not None:
            return _made(dict.fromkeys(wanted))
        for name in wanted:
            if name not in os.environ:
                raise InvalidError(
                    f"Secret.from_local_environ: the variable {name} is not set here",
                    remedy=f"set it where you start the program: `export {name}=...`",
                )
        return Secret.from_dict({name: os.environ[name] for name in wanted})

    def __repr__(self) -> str:
        return f"Secret({', '.join(self.names)})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Where it travels, it is its names."""
        return _without_values, (self.names,)

    def __copy__(self) -> Secret:
        """Itself: it never changes."""
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        """Itself: it never changes."""
        return self


def values_of(secrets: Iterable[Secret]) -> dict[str, str]:
    """The variables of several secrets, of which a later one wins. Raises InvalidError for a value that is not here."""
    found: dict[str, str] = {}
    for secret in secrets:
        for name, value in secret._values.items():
            if value is None:
                raise InvalidError(
                    f"the value of the secret {name} is not here",
                    remedy="give it a value where the program is started: None was given, or the secret travelled, "
                    "and values do not",
                )
            found[name] = value
    return found


def checked_secrets(method: str, secrets: Any) -> tuple[Secret, ...]:
    """The secrets that a step was given. Raises InvalidError for anything else."""
    given = () if secrets is None else secrets
    if isinstance(given, Secret) or not isinstance(given, Iterable):
        raise InvalidError(f"{method}: secrets is a list of secrets", remedy="write secrets=[...]")
    found = tuple(given)
    for secret in found:
        if not isinstance(secret, Secret):
            # Not its repr: what was meant to be a secret may be one.
            raise InvalidError(
                f"{method}: secrets holds a {type(secret).__name__}, not a squall.Secret",
                remedy='write `secrets=[squall.Secret.from_dict({"NAME": value})]`',
            )
    return found


def _made(variables: Mapping[str, str | None]) -> Secret:
    secret = object.__new__(Secret)
    secret._values = dict(variables)
    secret.names = tuple(sorted(variables))
    return secret


def _without_values(names: tuple[str, ...]) -> Secret:
    return _made(dict.fromkeys(names))


def _check(name: Any, value: Any) -> None:
    """Raises InvalidError for what no environment can hold; the message never has the value."""
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
    if "\0" in value or len(value.encode("utf-8", "surrogateescape")) > LONGEST:
        raise InvalidError(
            f"Secret: the value of {name} has a NUL in it, or more than {LONGEST:,} bytes, and no environment can hold it",
            remedy="put what is long into a file",
        )
