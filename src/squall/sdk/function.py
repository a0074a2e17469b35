"""Function: what a decorator leaves in place of the user's function, callable here and remotely."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from squall.context.current import in_container
from squall.model import function as nouns
from squall.model.errors import ExecutionError
from squall.model.function import Retries
from squall.sdk import autoscaler
from squall.sdk.amounts import Amount
from squall.sdk.calls import Target
from squall.sdk.declare import Declared
from squall.sdk.face import Face
from squall.sdk.verbs import ForEach, Mapped, Remote, RemoteItems, Spawn, SpawnMap

P = ParamSpec("P")
R = TypeVar("R")


class Function(Generic[P, R]):
    """A function that runs in containers; `@app.function()` makes it, and calling it plainly runs it here.

    remote(...): its value, from a container; a generator function's items. remote_gen(...): the items of a generator
    function, each as it is yielded. local(...): runs it here. map(xs, ...), starmap(tuples), for_each(xs): many inputs in
    one call. spawn(...), spawn_map(xs): a call whose outcomes are fetched later, a `FunctionCall`.
    from_name(app, name): the same of a deployed app, without its code. update_autoscaler(...): changes the bounds of its containers while the app runs.
    Each has an awaited form: `await f.remote.aio(...)`. They raise what the function raises, ExecutionError while the app
    does not run, and errors of `squall.model.errors` for what stopped it.
    """

    def __init__(self, raw: Callable[P, R], declared: Declared) -> None:
        self.declared = declared
        self.__squall_function__ = raw
        functools.update_wrapper(self, raw)
        self._give_verbs()

    def _give_verbs(self) -> None:
        self._target: Target | None = None
        self.remote: Remote[P, R] = Remote(self)
        self.remote_gen: RemoteItems[P] = RemoteItems(self)
        self.map: Mapped[R] = Mapped(self, star=False)
        self.starmap: Mapped[R] = Mapped(self, star=True)
        self.for_each = ForEach(self.map)
        self.spawn: Spawn[P, R] = Spawn(self)
        self.spawn_map: SpawnMap[R] = SpawnMap(self)
        self.update_autoscaler = Face(self._update_autoscaler)

    @staticmethod
    def from_name(
        app: str, name: str, *, version: int | None = None, environment_name: str | None = None
    ) -> Function[..., Any]:
        """A function of a deployed app, for programs that do not have its code. Looked up when it is first used.

        app, name: of the app as it was deployed, and of the function in it. version: one that takes calls still, instead of the
        one that serves when a call is made. environment_name: where the app is deployed (SQUALL_ENVIRONMENT, else main; in a
        container that of its own app). Raises InvalidError for what no name can be; its verbs raise DeployedAppNotFound,
        VersionNotFound and FunctionNotFound, which list what there is.
        """
        found: Function[..., Any] = importlib.import_module("squall.sdk.lookup").FoundFunction(
            app, name, version=version, environment_name=environment_name
        )
        return found

    def with_options(
        self,
        *,
        cpu: Amount = None,
        memory: Amount = None,
        gpu: str | list[str] | None = None,
        env: Mapping[str, str] | None = None,
        volumes: Mapping[str, Any] | None = None,
        retries: int | Retries | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
        timeout: float | None = None,
    ) -> Function[P, R]:
        """The same function with other options, in containers of its own; what is None stays as it is.

        It is made when it is first called: of a deployed app, in the version that serves then. The same values give the same
        containers, in every program. It keeps none without need, whatever `min_containers` the function has.

        cpu, memory, gpu, env, volumes, retries, max_containers, buffer_containers, scaledown_window, timeout: as in `App.function`; env is put
        over the function's own, volumes take the place of all it has, retries=0 takes them away. Raises InvalidError for values that cannot be; for a function
        that was looked up, its verbs do.
        """
        options = {name: value for name, value in locals().items() if name != "self"}
        made: Function[P, R] = importlib.import_module("squall.sdk.variant").variant_of(self, options)
        return made

    def __repr__(self) -> str:
        return f"<squall.Function {self.name!r}>"

    def __reduce__(self) -> Any:
        """As an argument, a function travels as the name of its module and its own; by value where that finds it not."""
        raw = self.__squall_function__
        if self.declared.by_value:
            return Function, (raw, dataclasses.replace(self.declared, image=None))
        found: Any = sys.modules.get(raw.__module__)
        for part in raw.__qualname__.split("."):
            found = getattr(found, part, None)
        return (
            raw.__qualname__
            if found is self
            else (Function, (raw, dataclasses.replace(self.declared, image=None)))
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs it here, like `.local`."""
        return self.__squall_function__(*args, **kwargs)

    def __get__(self, instance: object, _owner: type | None = None) -> Any:
        """In a class body it stays what it is: a method of a running container is `@app.cls`'s business."""
        return self

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs it here, in this process, without a container."""
        return self.__squall_function__(*args, **kwargs)

    @property
    def name(self) -> str:
        """Its name within the app."""
        return self.declared.name

    @property
    def is_generator(self) -> bool:
        """Whether it yields."""
        return self.declared.is_generator

    @property
    def spec(self) -> nouns.Function:
        """What the decorator declared."""
        return self.declared.noun

    async def _update_autoscaler(
        self,
        *,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
    ) -> None:
        """Changes how many containers there are, from now until the app ends; what is None stays as it is.

        min_containers, max_containers, buffer_containers, scaledown_window: as in `App.function`. The declaration is not
        changed. Raises InvalidError for what is out of bounds, also together with what stays; nothing is changed then.
        """
        given = {
            "min_containers": min_containers,
            "max_containers": max_containers,
            "buffer_containers": buffer_containers,
            "scaledown_window": scaledown_window,
        }
        await autoscaler.update(self.target(), autoscaler.changes(given))

    def run_as(self, target: Target | None) -> None:
        """Where calls go from now on: the app runs, or has ended (None)."""
        self._target = target

    def target(self) -> Target:
        """Where calls go. Raises ExecutionError while the app does not run."""
        if self._target is not None:
            return self._target
        here = in_container()
        if here is not None:
            root = str(self.declared.noun.code.root or "/app")
            self._target = Target(f"{here.app}/{self.declared.name}", root, self.declared.main)
            return self._target
        raise ExecutionError(
            f"{self.declared.name!r} is called remotely, but its app does not run",
            remedy="run the file with `squall run FILE`, or call within `with app.run():`",
        )


if TYPE_CHECKING:

    class AsyncFunction(Function[P, R]):
        """What an async function becomes: called in a container it gives its value, called here it is awaited."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]  # not awaited it is none of ours
            """Runs it here, like `.local`."""

        def local(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]  # not awaited it is none of ours
            """Runs it here, in this process, without a container."""
else:
    AsyncFunction = Function


def is_generator(raw: Callable[..., Any]) -> bool:
    """Whether calling it gives a generator, synchronous or not."""
    return inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw)
