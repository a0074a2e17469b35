"""Secret: variables that reach what needs them and are shown nowhere."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from squall.context.current import in_container
from squall.model.deploy import check_name
from squall.model.errors import InvalidError
from squall.model.secret import SecretUse, check_variable
from squall.sdk.dotenv import find_dotenv, read_dotenv
from squall.sdk.face import Face
from squall.sdk.secret_objects import SecretObjects, update

_keys = itertools.count(1)


class Secret:
    """Variables whose values are no part of an image or a function: containers are given them as they start, and build steps while they run.

    One with a name is kept by the server, sealed, and changed there: `Secret.from_name`. Of the others the values come with the
    program, and last as long as its app. Names are shown, values are not: neither where a secret is printed, nor in logs. Where
    one travels itself, as with code that mentions it, its values stay here.

    objects: the secrets that have a name: `create(name, values)`, `list()`, `delete(name)`, each with `.aio`.
    """

    __slots__ = ("_key", "_use", "_values", "names")

    objects: ClassVar[SecretObjects[Secret]]
    _values: dict[str, str | None]
    _use: SecretUse | None
    _key: str
    names: tuple[str, ...]

    def __init__(self) -> None:
        raise InvalidError(
            "a secret is made of something",
            remedy='write `Secret.from_name("NAME")`, `Secret.from_dict({"NAME": value})` or `Secret.from_local_environ(["NAME"])`',
        )

    @staticmethod
    def from_name(
        name: str, required_keys: Sequence[str] = (), *, environment_name: str | None = None
    ) -> Secret:
        """The secret of this name, which the server has. It is looked for when a function that uses it is made ready.

        required_keys: variables that it must have, or the function is refused. environment_name: where it is (where the app
        is). A container gets the version of when it starts, and keeps that. Raises NameInvalid, InvalidError.
        """
        if isinstance(required_keys, str):
            raise InvalidError(
                "Secret.from_name: required_keys is a list of names", remedy=f"write [{required_keys!r}]"
            )
        required = tuple(required_keys)
        for one in required:
            check_variable(one, None)
        environment = "" if environment_name is None else check_name("an environment", environment_name)
        use = SecretUse(name=check_name("a secret", name), environment=environment, required=required)
        return _made(dict.fromkeys(required), use)

    @staticmethod
    def from_dict(variables: Mapping[str, str | None]) -> Secret:
        """A secret of these variables. A value of None is one that is not here, such as in a container.

        Raises InvalidError that names the variable.
        """
        if not isinstance(variables, Mapping):
            raise InvalidError(f"Secret.from_dict takes a dict, not {type(variables).__name__}")
        for name, value in variables.items():
            check_variable(name, value)
        return _made(variables)

    @staticmethod
    def from_dotenv(path: str | os.PathLike[str] | None = None, *, filename: str = ".env") -> Secret:
        """A secret of the variables in a file of lines NAME=value, as `.env` files have them.

        path: the directory, or a file in it such as `__file__`, from which on upward a file of this name is looked for (the
        current directory). In a container, where no such file is, it has none. Raises InvalidError: there is no such file,
        or a line that is not understood, which is named by its number.
        """
        if in_container() is not None:
            return _made({})
        return Secret.from_dict(read_dotenv(find_dotenv(path, filename)))

    @staticmethod
    def from_local_environ(names: Iterable[str]) -> Secret:
        """A secret of these variables of the environment that the program is started in.

        In a container, which has another environment, only the names. Raises InvalidError for one that is not set.
        """
        if isinstance(names, str):
            raise InvalidError("Secret.from_local_environ takes a list of names", remedy=f"write [{names!r}]")
        wanted = list(names)
        for name in wanted:
            check_variable(name, None)
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
        if self._use is not None:
            return f"Secret({self._use.name!r})"
        return f"Secret({', '.join(self.names)})"

    @property
    def update(self) -> Face[[Mapping[str, str]], None]:
        """`update({...})`, or awaited `update.aio`: sets variables of a secret that has a name, and leaves its others as they are.

        That is a new version of it: containers that start from then on have it. Raises SecretNotFound, and InvalidError
        for one that has no name.
        """
        if self._use is None:
            raise InvalidError(
                "this secret has no name: its values are those of the program",
                remedy='make one that stays: `Secret.objects.create("NAME", {...})`',
            )
        return Face(update(self._use.name, self._use.environment))

    def __reduce__(self) -> tuple[Any, ...]:
        """Where it travels, it is its names."""
        if self._use is not None:
            return _named, (self._use.name, self._use.required, self._use.environment)
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
        if secret._use is not None:
            raise InvalidError(
                f"the values of the secret {secret._use.name!r} are with the server, and images are built of what is here",
                remedy='give a step `Secret.from_local_environ(["NAME"])` or `Secret.from_dict({...})`',
            )
        for name, value in secret._values.items():
            if value is None:
                raise InvalidError(
                    f"the value of the secret {name} is not here",
                    remedy="give it a value where the program is started: None was given, or the secret travelled, "
                    "and values do not",
                )
            found[name] = value
    return found


def uses_of(secrets: Iterable[Secret]) -> tuple[SecretUse, ...]:
    """What a function says of its secrets."""
    return tuple(
        one._use if one._use is not None else SecretUse(key=one._key, variables=one.names)
        for one in secrets
        # In a container one of a file has nothing, and no function is described there.
        if one._use is not None or one.names
    )


def travelling(secrets: Iterable[Secret]) -> dict[str, dict[str, str]]:
    """The values of those that have no name, by the key that `uses_of` says. Raises InvalidError for a value that is not here."""
    return {one._key: values_of([one]) for one in secrets if one._use is None and one.names}


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


def _made(variables: Mapping[str, str | None], use: SecretUse | None = None) -> Secret:
    secret = object.__new__(Secret)
    secret._values = dict(variables)
    secret._use = use
    secret._key = str(next(_keys))
    secret.names = tuple(sorted(variables))
    return secret


def _without_values(names: tuple[str, ...]) -> Secret:
    return _made(dict.fromkeys(names))


def _named(name: str, required: tuple[str, ...], environment: str) -> Secret:
    return Secret.from_name(name, required, environment_name=environment or None)


Secret.objects = SecretObjects(Secret.from_name)
