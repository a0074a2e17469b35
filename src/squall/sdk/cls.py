"""Cls: a class whose objects live in containers, as its app knows it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from squall.context import marks
from squall.context.current import in_container
from squall.model import parameters
from squall.model.errors import ExecutionError, InvalidError
from squall.model.function import Method, Retries
from squall.model.parameters import POOL, Parameter
from squall.model.variant import Changes, merged, varied, with_changes
from squall.sdk.amounts import Amount
from squall.sdk.autoscaler import Update
from squall.sdk.calls import Target
from squall.sdk.declare import Declared, declare
from squall.sdk.inspected import Inspected
from squall.sdk.method import CLASS, BoundMethod, named
from squall.sdk.parameter import declared_parameters, starting_values
from squall.sdk.secret import Secret

T = TypeVar("T")
# Of a static method, which the class's own variable is not for.
C = TypeVar("C")
_VALUES = "__squall_values__"
_CHANGES = "__squall_changes__"
_INIT = "__squall_init__"


class Cls(Inspected, Generic[T]):
    """A class whose objects live in containers: one that `@app.cls()` decorates, or one of a deployed app.

    from_name(app, name): that of a deployed app, without its code. of(Model): that which is decorated, where a type checker does
    not see that `Model` has `with_options` too. Calling it gives an object, whose methods are called remotely.
    """

    @staticmethod
    def from_name(
        app: str, name: str, *, version: int | None = None, environment_name: str | None = None
    ) -> Cls[Any]:
        """A class of a deployed app, for programs that do not have its code. Looked up when it is first used.

        `Cls.from_name("app", "Model")(size=3).greet.remote("Ada")`: an object is made with the parameters of its class, and has
        every method by its name. app, name, version, environment_name: as in `Function.from_name`. Raises InvalidError for what no
        name can be; calls raise DeployedAppNotFound, VersionNotFound, FunctionNotFound, and ParameterInvalid for wrong parameters.
        """
        found: Cls[Any] = importlib.import_module("squall.sdk.found_class").FoundClass(
            app, name, version=version, environment_name=environment_name
        )
        return found

    @staticmethod
    def of(decorated: type[C]) -> Cls[C]:
        """What the app knows of a class that `@app.cls()` decorates. Raises InvalidError for another."""
        found: Cls[C] | None = vars(decorated).get(CLASS)
        if found is None:
            raise InvalidError(f"{decorated.__qualname__} is not decorated with `@app.cls()`")
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> T:
        """An object, made with the parameters of its class. Raises ParameterInvalid."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Its name within its app."""
        raise NotImplementedError

    def with_options(
        self,
        *,
        cpu: Amount = None,
        memory: Amount = None,
        gpu: str | list[str] | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[Secret] | None = None,
        volumes: Mapping[str, Any] | None = None,
        retries: int | Retries | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
        timeout: float | None = None,
    ) -> Cls[T]:
        """The same class with other options, whose objects are in containers of their own; see `Function.with_options`."""
        options = {name: value for name, value in locals().items() if name != "self"}
        return self._varied(_variants().options_changed(self.name, options))

    def with_concurrency(self, *, max_inputs: int, target_inputs: int | None = None) -> Cls[T]:
        """The same class, whose containers work on so many inputs at once; see `Function.with_concurrency`."""
        return self._varied(_variants().concurrency_changed(self.name, max_inputs, target_inputs))

    def with_batching(self, *, max_batch_size: int, wait_ms: float) -> Cls[T]:
        """The same class, whose only method `squall.batched` decorates, with other batches; see `Function.with_batching`."""
        return self._varied(_variants().batching_changed(self.name, max_batch_size, wait_ms))

    @property
    def update_autoscaler(self) -> Update:
        """Changes the bounds of its containers, of each set of parameters; see `squall.Function`. A method's changes those of its object."""
        return Update(self.target, all_sets=True)

    def _varied(self, changes: Changes) -> Cls[T]:
        raise NotImplementedError


class DeclaredClass(Cls[T]):
    """One class of an app: what was declared of it, and where calls of its objects' methods go."""

    def __init__(self, raw: type[T], declared: Declared) -> None:
        self.declared = declared
        self.__squall_function__ = raw
        self._target: Target | None = None
        self._methods = {
            one.name: named(declared, one.name, yields=one.is_generator) for one in declared.noun.methods
        }

    def __repr__(self) -> str:
        return f"<squall.Cls {self.declared.name!r}>"

    def __reduce__(self) -> Any:
        return DeclaredClass, (self.__squall_function__, dataclasses.replace(self.declared, image=None))

    def __call__(self, *args: Any, **kwargs: Any) -> T:
        """An object of the class, as calling the class itself gives it."""
        return self.__squall_function__(*args, **kwargs)

    @property
    def name(self) -> str:
        """Its name within its app."""
        return self.declared.name

    def methods(self) -> tuple[str, ...]:
        """The names of its methods that are called remotely."""
        return tuple(self._methods)

    def method_of_its_own(self, name: str) -> BoundMethod[Any, Any]:
        """A method of an object that is made without parameters. Raises ParameterInvalid where one is needed."""
        found: BoundMethod[Any, Any] = getattr(self(), name)
        return found

    def run_as(self, target: Target | None) -> None:
        """Where calls go from now on: the app runs, or has ended (None)."""
        self._target = target

    def method_declared(self, name: str) -> Declared:
        """How a method was declared."""
        return self._methods[name]

    def target(self) -> Target:
        """Where calls go of objects that have no other parameters. Raises ExecutionError while the app does not run."""
        if self._target is None:
            here = in_container()
            if here is None:
                raise ExecutionError(
                    f"{self.declared.name!r} is called remotely, but its app does not run",
                    remedy="run the file with `squall run FILE`, or call within `with app.run():`",
                )
            root = str(self.declared.noun.code.root or "/app")
            self._target = Target(f"{here.app}/{self.declared.name}", root, self.declared.main)
        return self._target

    def target_of(self, instance: object, method: str) -> Target:
        """Where calls of an object's method go. Raises ExecutionError while the app does not run."""
        changes: Changes = vars(instance).get(_CHANGES, {})
        values = _values_of(instance)
        return target_of_set(
            self.target(),
            changes,
            values if values != self.declared.noun.values else None,
            method,
        )

    def _varied(self, changes: Changes) -> Cls[T]:
        return VariedClass(self, changes)


class VariedClass(Cls[T]):
    """A decorated class with other options. Its objects are of the class itself, and their calls go elsewhere."""

    def __init__(self, base: DeclaredClass[T], changes: Changes) -> None:
        varied(base.declared.noun, changes)
        self._base = base
        self._changes = changes

    def __repr__(self) -> str:
        return f"<squall.Cls {self.name!r} with other options>"

    def __reduce__(self) -> Any:
        return VariedClass, (self._base, dict(self._changes))

    def __call__(self, *args: Any, **kwargs: Any) -> T:
        """An object of the class."""
        made = self._base(*args, **kwargs)
        vars(made)[_CHANGES] = dict(self._changes)
        return made

    @property
    def name(self) -> str:
        """Its name within its app."""
        return self._base.name

    def target(self) -> Target:
        """See `Cls`."""
        return target_of_set(self._base.target(), self._changes, None, "")

    def _varied(self, changes: Changes) -> Cls[T]:
        return VariedClass(self._base, merged(self._changes, changes))


class ClassVerb:
    """What a decorated class has as its own `with_options` and the like, unless it defines one of that name."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> Any:
        return ClassVerb, (self._name,)

    def __get__(self, instance: object | None, owner: type) -> Any:
        """That of the class; of an object there is none, but that which changes its own containers."""
        of: Cls[Any] = Cls.of(owner)
        if instance is None:
            return getattr(of, self._name)
        if self._name == "update_autoscaler" and isinstance(of, DeclaredClass):
            return Update(lambda: of.target_of(instance, ""))
        raise AttributeError(f"an object of {owner.__qualname__} has no {self._name!r}: its class has")


_CLASS_VERBS = ("with_options", "with_concurrency", "with_batching", "update_autoscaler")


def target_of_set(own: Target, changes: Changes, values: dict[str, Any] | None, method: str) -> Target:
    """Where calls go of a class with these changes and values of its parameters; None where these are its own."""
    function = with_changes(own.function, changes)
    if values is not None and not changes and not function.startswith(POOL):
        # A class of an app that runs: its id and the key of the values are the name of what has them.
        function = f"{function}{POOL}{parameters.key_of(values)}"
    return dataclasses.replace(own, function=function, method=method, values=values)


def _variants() -> Any:
    return importlib.import_module("squall.sdk.variant")


def declare_class(raw: type[T], options: Mapping[str, Any]) -> DeclaredClass[T]:
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
    found = DeclaredClass(raw, dataclasses.replace(declared, noun=noun))
    _give_constructor(raw, own, start)
    setattr(raw, CLASS, found)
    for name in _CLASS_VERBS:
        if not hasattr(raw, name):
            setattr(raw, name, ClassVerb(name))
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
