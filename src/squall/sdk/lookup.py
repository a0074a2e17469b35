"""Lookup: functions of deployed apps, found by their names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NoReturn

from squall.model.deploy import Address, check_name
from squall.model.errors import ExecutionError, FunctionNotFound, InvalidError
from squall.sdk.blocking import run_blocking
from squall.sdk.calls import Target
from squall.sdk.client import Client
from squall.sdk.environments import environment_of
from squall.sdk.function import Function


class Lookup:
    """A function or a class by its names; what the server says of it, once that first matters."""

    def __init__(self, app: str, name: str, version: int | None, environment_name: str | None) -> None:
        check_name("an app", app)
        if not isinstance(name, str) or not name or "/" in name or "@" in name:
            raise InvalidError(f"{name!r} is no name for a function")
        if version is not None and (type(version) is not int or version < 1):
            raise InvalidError(f"versions are counted 1, 2, 3: {version!r} is none")
        if environment_name is not None:
            check_name("an environment", environment_name)
        self.names = (app, name, version, environment_name)
        self.app, self.name, self.version = app, name, version
        self._lock = threading.Lock()
        self._told: dict[str, Any] | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What the server says of it. Raises DeployedAppNotFound, VersionNotFound, FunctionNotFound."""
        if self._told is None:
            with self._lock:
                app, name, version, environment = self.names
                found = find(app, environment, version)
                if name not in found["functions"]:
                    raise _not_there(app, name, found)
                self._told = {**found["functions"][name], "environment": found["environment"]}
        return self._told


def _not_there(app: str, name: str, found: dict[str, Any]) -> FunctionNotFound:
    there = ", ".join(sorted(found["functions"])) or "none"
    of, _, method = name.partition(".")
    remedy = "name one of those"
    if method and "methods" in found["functions"].get(of, {}):
        remedy = f"a method is found with its class: `squall.Cls.from_name({app!r}, {of!r})().{method}`"
    return FunctionNotFound(
        f"the app {app} has no function {name!r} in version {found['version']}; it has: {there}",
        remedy=remedy,
    )


class FoundFunction(Function[..., Any]):
    """A function of a deployed app. What it is, is asked for when that first matters; which version runs it, at each call."""

    def __init__(self, app: str, name: str, *, version: int | None, environment_name: str | None) -> None:
        self._asked = Lookup(app, name, version, environment_name)
        self.__squall_function__: Callable[..., Any] = self._has_no_code
        self.__name__ = self.__qualname__ = name
        self._give_verbs()

    def __reduce__(self) -> Any:
        """As an argument it travels by its names."""
        return _found, self._asked.names

    @property
    def name(self) -> str:
        """Its name within its app."""
        return self._asked.name

    @property
    def is_generator(self) -> bool:
        """Whether it yields."""
        return bool(self._look()["is_generator"])

    @property
    def spec(self) -> NoReturn:
        """What the decorator declared, which is where its code is."""
        raise without_code(self.name, self._asked.app, "its declaration")

    def target(self) -> Target:
        """Where calls go. Raises DeployedAppNotFound and its like."""
        if self._target is None:
            told = self._look()
            app, name, version, _environment = self._asked.names
            self._target = Target(str(Address(told["environment"], app, name, version)), told["root"], None)
        return self._target

    def _look(self) -> dict[str, Any]:
        told = self._asked.told
        if "methods" in told:
            app, name = self._asked.app, self._asked.name
            raise FunctionNotFound(
                f"{name!r} of the app {app} is a class, and its methods are called",
                remedy=f"find it with `squall.Cls.from_name({app!r}, {name!r})`",
            )
        return told

    def _has_no_code(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise without_code(self.name, self._asked.app, "itself")


def without_code(name: str, app: str, what: str) -> ExecutionError:
    """The error for what only code can give of something that was looked up."""
    return ExecutionError(
        f"{name!r} was looked up in the app {app}, and {what} is not here",
        remedy=f"call it with `.remote(...)`, or import the module that declares {name!r}",
    )


def find(app: str, environment: str | None, version: int | None = None) -> dict[str, Any]:
    """What the server says of a deployed app. Raises DeployedAppNotFound, VersionNotFound, ServerNotStarted and its like."""
    check_name("an app", app)
    client = Client.here()
    client.start()
    asked: dict[str, Any] = {"app": app, "environment": environment_of(environment)}
    if version is not None:
        asked["version"] = version
    return run_blocking(client.answer("app.find", asked))


def _found(app: str, name: str, version: int | None, environment: str | None) -> FoundFunction:
    return FoundFunction(app, name, version=version, environment_name=environment)
