"""Method: a function of a class that is called remotely, and what an object has in its place."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from squall.context.marks import METHOD, hook_of
from squall.model.errors import InvalidError
from squall.sdk.calls import Target
from squall.sdk.declare import Declared
from squall.sdk.hooks import enter_here, enter_here_async
from squall.sdk.inspected import Inspected
from squall.sdk.verbs import ForEach, Mapped, Remote, RemoteItems, Spawn, SpawnMap

P = ParamSpec("P")
R = TypeVar("R")
CLASS = "__squall_class__"


class Owner(Protocol):
    """What a method needs to know of its class."""

    def method_declared(self, name: str) -> Declared:
        """How a method was declared."""

    def target_of(self, instance: object, method: str) -> Target:
        """Where calls of an object's method go."""


class BoundMethod(Inspected, Generic[P, R]):
    """A method of one object: it is called remotely by the verbs of a `squall.Function`, and called plainly it runs here.

    `.local(...)` and a plain call run the enter hooks of the object first, once. In the container of the object, where they
    have run, it is a plain method.
    """

    __slots__ = ("_method", "instance")

    def __init__(self, method: Method[P, R], instance: object) -> None:
        self._method = method
        self.instance = instance

    def __repr__(self) -> str:
        return f"<squall method {self._method.raw.__qualname__!r}>"

    def __reduce__(self) -> Any:
        return getattr, (self.instance, self._method.name)

    @property
    def remote(self) -> Remote[P, R]:
        """See `squall.Function`."""
        return Remote(self)

    @property
    def remote_gen(self) -> RemoteItems[P]:
        """See `squall.Function`."""
        return RemoteItems(self)

    @property
    def map(self) -> Mapped[R]:
        """See `squall.Function`."""
        return Mapped(self, star=False)

    @property
    def starmap(self) -> Mapped[R]:
        """See `squall.Function`."""
        return Mapped(self, star=True)

    @property
    def for_each(self) -> ForEach:
        """See `squall.Function`."""
        return ForEach(self.map)

    @property
    def spawn(self) -> Spawn[P, R]:
        """See `squall.Function`."""
        return Spawn(self)

    @property
    def spawn_map(self) -> SpawnMap[R]:
        """See `squall.Function`."""
        return SpawnMap(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs it here, like `.local`."""
        return cast("R", self._method.run_here(self.instance, args, kwargs))

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs it here, in this process, after the enter hooks of the object if they have not run."""
        return cast("R", self._method.run_here(self.instance, args, kwargs))

    @property
    def __squall_function__(self) -> Callable[P, R]:
        """The plain function, bound to its object."""
        found: Callable[P, R] = self._method.raw.__get__(self.instance)
        return found

    @property
    def name(self) -> str:
        """Its name within its app: that of its class, and its own."""
        return self._owner.method_declared(self._method.name).name

    @property
    def is_generator(self) -> bool:
        """Whether it yields."""
        return self._owner.method_declared(self._method.name).is_generator

    def target(self) -> Target:
        """Where calls go. Raises ExecutionError while the app does not run, InvalidError where the class belongs to none."""
        return self._owner.target_of(self.instance, self._method.name)

    @property
    def _owner(self) -> Owner:
        found: Owner | None = vars(type(self.instance)).get(CLASS)
        if found is None:
            raise InvalidError(
                f"{type(self.instance).__qualname__} has remote methods, and belongs to no app",
                remedy="decorate it with `@app.cls()`, also where its base is decorated",
            )
        return found


class Method(Generic[P, R]):
    """What `@squall.method()` leaves in a class: an object of the class has a `BoundMethod` in its place."""

    def __init__(self, raw: Callable[..., R]) -> None:
        self.raw: Any = raw
        self.name = raw.__name__
        setattr(self, METHOD, raw)
        # As `functools.update_wrapper`, which wants something that can be called.
        self.__doc__, self.__wrapped__ = raw.__doc__, raw

    def __reduce__(self) -> Any:
        return Method, (self.raw,)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Method[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> BoundMethod[P, R]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        """Of an object, what can be called; of the class, itself."""
        return self if instance is None else BoundMethod(self, instance)

    def run_here(self, instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs it on an object of this process."""
        if inspect.iscoroutinefunction(self.raw):
            return self._enter_and_run(instance, args, kwargs)
        enter_here(instance)
        return self.raw(instance, *args, **kwargs)

    async def _enter_and_run(self, instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        await enter_here_async(instance)
        return await self.raw(instance, *args, **kwargs)


if TYPE_CHECKING:

    class AsyncBoundMethod(BoundMethod[P, R]):
        """An async method of one object: in a container it gives its value, called here it is awaited."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]  # not awaited it is none of ours
            """Runs it here, like `.local`."""

        def local(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]  # not awaited it is none of ours
            """Runs it here, in this process, without a container."""

    class AsyncMethod(Method[P, R]):
        """What an async method becomes."""

        @overload
        def __get__(self, instance: None, owner: type) -> Method[P, R]: ...
        @overload
        def __get__(self, instance: object, owner: type) -> AsyncBoundMethod[P, R]: ...
        def __get__(self, instance: object | None, owner: type) -> Any: ...


class DecorateMethod(Protocol):
    """What `@squall.method()` is: of an async method, the value is what awaiting it gives."""

    @overload
    def __call__(
        self, raw: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncMethod[P, R]: ...
    @overload
    def __call__(self, raw: Callable[Concatenate[Any, P], R], /) -> Method[P, R]: ...


def method(*, is_generator: bool | None = None) -> DecorateMethod:
    """Makes a method of a class that `@app.cls()` decorates one that is called remotely: `Model().predict.remote(x)`.

    All methods of a class share its containers and the one object that each has. They may be async, and generators.
    is_generator: whether it yields, where that cannot be seen.
    """

    def decorate(raw: Callable[..., Any]) -> Any:
        if not inspect.isfunction(raw):
            raise InvalidError(f"@squall.method() decorates a plain function of a class, and {raw!r} is none")
        if hook_of(raw) is not None:
            raise InvalidError(f"{raw.__qualname__!r} is a hook, which its container calls, and no method")
        yields = inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw)
        if is_generator is not None and is_generator != yields:
            raise InvalidError(
                f"{raw.__qualname__!r} {'yields' if yields else 'yields nothing'}, and "
                f"is_generator={is_generator} says the contrary"
            )
        return Method(raw)

    return decorate


def named(declared: Declared, method_name: str, *, yields: bool) -> Declared:
    """How a method is declared: as its class, under its own name."""
    noun = dataclasses.replace(declared.noun, is_generator=yields)
    return dataclasses.replace(declared, name=f"{declared.name}.{method_name}", noun=noun)
