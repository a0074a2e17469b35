"""Cls: a class whose objects live in containers, as its app knows it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from squall.context import marks
from squall.context.current import in_container
from squall.model import parameters
from squall.model.errors import ExecutionError, InvalidError
from squall.model.function import Method
from squall.model.parameters import Parameter
from squall.sdk.calls import Target
from squall.sdk.declare import Declared, declare
from squall.sdk.method import CLASS, BoundMethod, named
from squall.sdk.parameter import declared_parameters, starting_values

_VALUES = "__squall_values__"
_INIT = "__squall_init__"


class Cls:
    """One class of an app: what was declared of it, and where calls of its objects' methods go."""

    def __init__(self, raw: type, declared: Declared) -> None:
        self.declared = declared
        self.__squall_function__ = raw
        self._target: Target | None = None
        self._methods = {
            one.name: named(declared, one.name, yields=one.is_generator) for one in declared.noun.methods
        }

    def __repr__(self) -> str:
        return f"<squall.Cls {self.declared.name!r}>"

    def __reduce__(self) -> Any:
        return Cls, (self.__squall_function__, dataclasses.replace(self.declared, image=None))

    def methods(self) -> tuple[str, ...]:
        """The names of its methods that are called remotely."""
        return tuple(self._methods)

    def method_of_its_own(self, name: str) -> BoundMethod[Any, Any]:
        """A method of an object that is made without parameters. Raises ParameterInvalid where one is needed."""
        found: BoundMethod[Any, Any] = getattr(self.__squall_function__(), name)
        return found

    def run_as(self, target: Target | None) -> None:
        """Where calls go from now on: the app runs, or has ended (None)."""
        self._target = target

    def method_declared(self, name: str) -> Declared:
        """How a method was declared."""
        return self._methods[name]

    def target_of(self, instance: object, method: str) -> Target:
        """Where calls of an object's method go. Raises ExecutionError while the app does not run."""
        own = self._target
        if own is None:
            here = in_container()
            if here is None:
                raise ExecutionError(
                    f"{self.declared.name!r} is called remotely, but its app does not run",
                    remedy="run the file with `squall run FILE`, or call within `with app.run():`",
                )
            root = str(self.declared.noun.code.root or "/app")
            own = self._target = Target(f"{here.app}/{self.declared.name}", root, self.declared.main)
        values = _values_of(instance)
        if values == self.declared.noun.values:
            return dataclasses.replace(own, method=method)
        pool = f"{own.function}@{parameters.key_of(values)}"
        return dataclasses.replace(own, function=pool, method=method, values=values)


def declare_class(raw: type, options: Mapping[str, Any]) -> Cls:
    """A decorated class, made ready to have objects. Raises InvalidError for what cannot be one."""
    _check(raw)
    own = declared_parameters(raw)
    start = starting_values(raw)
    declared = declare(raw, options, is_generator=False, is_async=False)
    noun = dataclasses.replace(
        declared.noun,
        methods=tuple(
            Method(
                name=name,
                is_generator=inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method),
                is_async=inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method),
            )
            for name, method in marks.methods(raw).items()
        ),
        parameters=own,
        values=parameters.defaults(own),
    )
    found = Cls(raw, dataclasses.replace(declared, noun=noun))
    _give_constructor(raw, own, start)
    setattr(raw, CLASS, found)
    return found


def _check(raw: Any) -> None:
    if not inspect.isclass(raw):
        raise InvalidError(
            f"@app.cls decorates a class, and {raw!r} is none; a function is for @app.function"
        )
    if CLASS in vars(raw):
        raise InvalidError(f"{raw.__qualname__!r} is decorated with @app.cls twice")
    if not marks.methods(raw):
        raise InvalidError(
            f"{raw.__qualname__!r} has no method that can be called remotely",
            remedy="decorate one with `@squall.method()`",
        )
    own = _own_init(raw)
    if own is not None and len(inspect.signature(own).parameters) > 1:
        raise InvalidError(
            f"the `__init__` of {raw.__qualname__!r} takes arguments",
            remedy="declare them in the body of the class, as in `size: str = squall.parameter()`; work is for `@squall.enter()`",
        )


def _own_init(raw: type) -> Callable[[Any], None] | None:
    """The `__init__` that the user wrote, of the class or of a base; None where there is none."""
    found: Any = next((vars(base)["__init__"] for base in raw.__mro__ if "__init__" in vars(base)), None)
    found = getattr(found, _INIT, found)
    return None if found is None or found is object.__init__ else found


def _give_constructor(raw: type, own: tuple[Parameter, ...], start: dict[str, Any]) -> None:
    """Objects are made with the parameters of their class; what the user's `__init__` does comes after."""
    users, name = _own_init(raw), raw.__qualname__

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        # A class whose `__init__` calls that of a decorated base has its values already.
        if _VALUES not in vars(self):
            values = parameters.bound(own, args, kwargs, of=name)
            vars(self)[_VALUES] = values
            for key, plain in values.items():
                setattr(self, key, parameters.to_value(plain))
            for key, value in start.items():
                setattr(self, key, value)
        if users is not None:
            users(self)

    setattr(make, _INIT, users)
    make.__name__, make.__qualname__ = "__init__", f"{name}.__init__"
    changed: Any = raw
    changed.__init__ = make


def _values_of(instance: object) -> dict[str, Any]:
    found: dict[str, Any] | None = vars(instance).get(_VALUES)
    if found is None:
        raise InvalidError(
            f"an object of {type(instance).__qualname__} was not made by calling its class",
            remedy=f"make it with `{type(instance).__qualname__}(...)`",
        )
    return found
