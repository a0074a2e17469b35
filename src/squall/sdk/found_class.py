"""Found class: a class of a deployed app, its objects and their methods, without their code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from squall.model import parameters
from squall.model.deploy import Address
from squall.model.errors import FunctionNotFound
from squall.model.jsonable import from_json
from squall.model.parameters import Parameter
from squall.model.variant import Changes, merged
from squall.sdk.autoscaler import Update
from squall.sdk.calls import Target
from squall.sdk.cls import Cls, target_of_set
from squall.sdk.function import Function
from squall.sdk.lookup import Lookup, without_code

_OWN = frozenset({"_ipython_display_", "_repr_html_", "_repr_mimebundle_"})
"""What others ask any object for, to show it."""


class FoundClass(Cls[Any]):
    """A class of a deployed app. What it is, is asked for when that first matters; which version runs it, at each call."""

    def __init__(
        self,
        app: str,
        name: str,
        *,
        version: int | None = None,
        environment_name: str | None = None,
        changes: Changes | None = None,
    ) -> None:
        self._asked = Lookup(app, name, version, environment_name)
        self._changes: Changes = changes or {}

    def __repr__(self) -> str:
        return f"<squall.Cls {self.name!r} of the app {self._asked.app!r}>"

    def __reduce__(self) -> Any:
        """As an argument it travels by its names, with what is changed."""
        return _found, (*self._asked.names, dict(self._changes))

    def __call__(self, *args: Any, **kwargs: Any) -> FoundObject:
        """An object, made with the parameters of its class; what they are is checked when a method is first called."""
        return FoundObject(self, args, kwargs)

    @property
    def name(self) -> str:
        """Its name within its app."""
        return self._asked.name

    @property
    def app_name(self) -> str:
        """The name of its app."""
        return self._asked.app

    def methods(self) -> dict[str, bool]:
        """Its methods that are called remotely, and whether each yields. Raises FunctionNotFound and its like."""
        told = self._asked.told
        if "methods" not in told:
            raise FunctionNotFound(
                f"{self.name!r} of the app {self.app_name} is a function, and no class",
                remedy=f"find it with `squall.Function.from_name({self.app_name!r}, {self.name!r})`",
            )
        found: dict[str, bool] = told["methods"]
        return found

    def target(self) -> Target:
        """See `Cls`."""
        self.methods()
        return target_of_set(self._own_target(), self._changes, None, "")

    def target_with(self, args: tuple[Any, ...], kwargs: dict[str, Any], method: str) -> Target:
        """Where calls go of an object that is made with these parameters. Raises ParameterInvalid."""
        self.methods()
        told = self._asked.told
        own = tuple(from_json(Parameter, one) for one in told["parameters"])
        values = parameters.bound(own, args, kwargs, of=self.name)
        return target_of_set(
            self._own_target(), self._changes, values if values != told["values"] else None, method
        )

    def _own_target(self) -> Target:
        told, asked = self._asked.told, self._asked
        return Target(
            str(Address(told["environment"], asked.app, asked.name, asked.version)), told["root"], None
        )

    def _varied(self, changes: Changes) -> FoundClass:
        return _found(*self._asked.names, merged(self._changes, changes))


class FoundObject:
    """An object of a class of a deployed app: every attribute is a method that is called remotely."""

    def __init__(self, of: FoundClass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        vars(self)["_made"] = (of, args, kwargs)

    def __repr__(self) -> str:
        return f"<squall object of {made_of(self)[0]!r}>"

    def __reduce__(self) -> Any:
        return FoundObject, made_of(self)

    def __getattr__(self, name: str) -> FoundMethod:
        if (name.startswith("__") and name.endswith("__")) or name in _OWN:
            raise AttributeError(name)
        return FoundMethod(self, name)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{self!r} is elsewhere, and its {name!r} is not set from here")

    @property
    def update_autoscaler(self) -> Update:
        """Changes the bounds of its own containers; see `squall.Function`."""
        of, args, kwargs = made_of(self)
        return Update(lambda: of.target_with(args, kwargs, ""))


def made_of(instance: FoundObject) -> tuple[FoundClass, tuple[Any, ...], dict[str, Any]]:
    """The class of an object, and its parameters as they were given."""
    found: tuple[FoundClass, tuple[Any, ...], dict[str, Any]] = vars(instance)["_made"]
    return found


class FoundMethod(Function[..., Any]):
    """A method of an object of a deployed app's class."""

    def __init__(self, instance: FoundObject, name: str) -> None:
        self._instance = instance
        self._method = name
        self._of, self._args, self._kwargs = made_of(instance)
        self.__squall_function__: Callable[..., Any] = self._has_no_code
        self.__name__ = self.__qualname__ = f"{self._of.name}.{name}"
        self._give_verbs()

    def __reduce__(self) -> Any:
        return FoundMethod, (self._instance, self._method)

    @property
    def name(self) -> str:
        """Its name within its app: that of its class, and its own."""
        return f"{self._of.name}.{self._method}"

    @property
    def is_generator(self) -> bool:
        """Whether it yields. Raises FunctionNotFound where the class has no such method."""
        methods = self._of.methods()
        if self._method not in methods:
            raise FunctionNotFound(
                f"{self._of.name} has no method {self._method!r} that is called remotely; it has: {', '.join(methods)}",
                remedy="name one of those",
            )
        return bool(methods[self._method])

    @property
    def spec(self) -> NoReturn:
        """What the decorator declared, which is where its code is."""
        raise without_code(self.name, self._of.app_name, "its declaration")

    def target(self) -> Target:
        """Where calls go. Raises DeployedAppNotFound and its like."""
        if self._target is None:
            assert self.is_generator is not None
            self._target = self._of.target_with(self._args, self._kwargs, self._method)
        return self._target

    def _has_no_code(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise without_code(self.name, self._of.app_name, "itself")


def _found(app: str, name: str, version: int | None, environment: str | None, changes: Changes) -> FoundClass:
    return FoundClass(app, name, version=version, environment_name=environment, changes=changes)
