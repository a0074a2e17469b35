"""App: functions that belong together, and the run that gives them a server."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, dataclass_transform, overload

from squall.context import current
from squall.model.errors import AlreadyExistsError, DeployedAppNotFound, InvalidError
from squall.model.function import Retries
from squall.model.schedule import Cron, Period
from squall.sdk.amounts import Amount
from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.cls import DeclaredClass, declare_class
from squall.sdk.declare import declare
from squall.sdk.deploy import Deploy
from squall.sdk.entrypoint import LocalEntrypoint
from squall.sdk.function import AsyncFunction, Function, is_generator
from squall.sdk.image import Image
from squall.sdk.parameter import parameter
from squall.sdk.secret import Secret, checked_secrets
from squall.sdk.volume_option import split
from squall.sdk.watch import Watcher

if TYPE_CHECKING:
    from squall.sdk.session import AppRun

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Decorate(Protocol):
    """What `@app.function(...)` is: of an async function, the value is what awaiting it gives."""

    @overload
    def __call__(self, raw: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncFunction[P, R]: ...
    @overload
    def __call__(self, raw: Callable[P, R], /) -> Function[P, R]: ...


class App:
    """Functions that are run together, and what they have in common.

    name: how it is listed; without one, that of the directory. image, include_source: what its functions have unless they
    say otherwise (this machine's image; the source ships). secrets: what all its functions are given. volumes: what all its functions
    mount, by the paths. tags: words about it that are shown where it is listed, once it is deployed. deploy(...): has it stay; see `squall.sdk.deploy.Deploy`. version: the number under which it was deployed or found.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        image: Image | None = None,
        secrets: Sequence[Secret] = (),
        volumes: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        include_source: bool = True,
    ) -> None:
        self.name = name
        self.tags = _checked_tags(tags)
        self.version: int | None = None
        self.deploy: Deploy[App] = Deploy(self)
        self.image = image
        self.secrets = checked_secrets("App", secrets)
        self.volumes = _checked_volumes(volumes)
        self.include_source = include_source
        # A `Function` or a `DeclaredClass` each.
        self.functions: dict[str, Any] = {}
        self.entrypoints: dict[str, LocalEntrypoint] = {}
        self._run: AppRun | None = None

    def __repr__(self) -> str:
        return f"App({self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Where it travels, with code that mentions it, it is a name: what it runs stays here."""
        return App, (self.name,)

    def function(
        self,
        *,
        name: str | None = None,
        image: Image | None = None,
        cpu: Amount = None,
        memory: float | tuple[float, float] | None = None,
        gpu: str | Sequence[str] | None = None,
        ephemeral_disk: int | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[Secret] = (),
        volumes: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        startup_timeout: float | None = None,
        retries: int | Retries | None = None,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
        single_use_containers: bool = False,
        on_lost: str | None = None,
        block_network: bool = False,
        level: str | None = None,
        schedule: Cron | Period | None = None,
        serialized: bool = False,
        include_source: bool | None = None,
        **later: Any,
    ) -> Decorate:
        """Makes a function remote: calling it plainly still runs it here, `.remote(...)` runs it in a container.

        name: how it is listed and called by `squall run FILE::NAME` (its own).
        image: what its containers find (the app's, else this machine).
        cpu: cores, a number or (request, limit); a number alone places it and limits nothing (0.125).
        memory: MiB, a number or (request, limit); a number alone is both (128 to place it, and no limit).
        gpu: whole devices of its own: "H100", "A100:2", "any", or a list of which the first that is free is taken (none).
        ephemeral_disk: MiB that a container may write (no limit). env: plain environment variables.
        secrets: variables of `squall.Secret`s, on top of the app's; of one in several the last counts, and what `env` says before all.
        volumes: `squall.Volume`s and `squall.CloudBucketMount`s by the paths at which they are mounted, beside those of the app ({}).
        timeout, startup_timeout: seconds that an attempt may take, 1 to 86400 (300), and importing its code (as timeout, at least 60).
        retries: how often an input that raised is tried again, 0 to 10, or a `squall.Retries` (0). Not for generators.
        min_containers, max_containers, buffer_containers: kept alive; never more; idle on top under load (0, none, 0).
        scaledown_window: idle seconds after which a container goes, 2 to 3600 (60).
        single_use_containers: a fresh container for each input (False). block_network: loopback, and no other network (False).
        on_lost: "fail" ends an input that may have begun when its container was lost; "rerun" runs it again ("rerun").
        level: what keeps its containers apart, "process" to "gvisor" ("sandbox"); refused at once where it cannot be given.
        schedule: when it is called by itself once the app is deployed, a `squall.Cron` or `squall.Period` (never).
        serialized: its code travels by value, as in notebooks, not as a module (False). include_source: whether the source ships (the app's).

        Raises InvalidError for an option that is not there or out of its bounds, AlreadyExistsError for a name that is taken.
        """
        options = self._options("@app.function", locals())

        def decorate(raw: Callable[..., Any]) -> Any:
            _check_raw(raw)
            declared = declare(raw, options, is_generator=is_generator(raw), is_async=_is_async(raw))
            function: Function[..., Any] = Function(raw, declared)
            self._add(declared.name, function)
            return function

        return decorate

    @dataclass_transform(field_specifiers=(parameter,))
    def cls(
        self,
        *,
        name: str | None = None,
        image: Image | None = None,
        cpu: Amount = None,
        memory: float | tuple[float, float] | None = None,
        gpu: str | Sequence[str] | None = None,
        ephemeral_disk: int | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[Secret] = (),
        volumes: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        startup_timeout: float | None = None,
        retries: int | Retries | None = None,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
        single_use_containers: bool = False,
        on_lost: str | None = None,
        block_network: bool = False,
        level: str | None = None,
        serialized: bool = False,
        include_source: bool | None = None,
        **later: Any,
    ) -> Callable[[type[T]], type[T]]:
        """Makes a class remote: each of its containers has one object of it, and runs the methods that are called remotely.

        The options are those of `App.function`, for all methods together; startup_timeout bounds its enter hooks too. Each set
        of values of its parameters (`squall.parameter`) has containers of its own, within these bounds. Methods that yield
        are not retried. The class stays a class: bases, other methods and `isinstance` are as ever.

        Raises InvalidError for an option that is not there or out of its bounds and for a class without a method that is
        called remotely, AlreadyExistsError for a name that is taken.
        """
        options = self._options("@app.cls", locals())

        def decorate(raw: type[T]) -> type[T]:
            made = declare_class(raw, options)
            self._add(made.declared.name, made)
            return raw

        return decorate

    def _options(self, decorator: str, given: dict[str, Any]) -> dict[str, Any]:
        """A decorator's keywords, with what the app has for all."""
        _refuse_later(given.pop("later"))
        options = {key: value for key, value in given.items() if key != "self"}
        options["image"] = options["image"] if options["image"] is not None else self.image
        options["secrets"] = (*self.secrets, *checked_secrets(decorator, options["secrets"]))
        own = options["volumes"]
        options["volumes"] = {**self.volumes, **own} if isinstance(own, Mapping) else own or self.volumes
        return options

    @overload
    def local_entrypoint(self, raw: Callable[..., Any], /) -> LocalEntrypoint: ...
    @overload
    def local_entrypoint(
        self, /, *, name: str | None = None
    ) -> Callable[[Callable[..., Any]], LocalEntrypoint]: ...
    def local_entrypoint(self, raw: Any = None, /, *, name: str | None = None) -> Any:
        """Makes a local function a command: `squall run FILE::NAME --flag value`, flags typed by its parameters.

        name: how it is called (its own). Raises AlreadyExistsError for a name that is taken.
        """

        def decorate(raw: Callable[..., Any]) -> LocalEntrypoint:
            entrypoint = LocalEntrypoint(self, raw, name or raw.__name__)
            if entrypoint.name in self.entrypoints:
                raise AlreadyExistsError(f"the app has an entrypoint {entrypoint.name!r} already")
            self.entrypoints[entrypoint.name] = entrypoint
            return entrypoint

        return decorate(raw) if raw is not None else decorate

    @staticmethod
    def lookup(name: str, *, create_if_missing: bool = False, environment_name: str | None = None) -> App:
        """A deployed app by its name, with `version` set; its functions are had by `Function.from_name`.

        create_if_missing: deploys one without functions where there is none. environment_name: as in `Function.from_name`.
        Raises DeployedAppNotFound, which lists what is deployed, NameInvalid and EnvironmentNotFound for what cannot be made.
        """
        app, lookup = App(name), importlib.import_module("squall.sdk.lookup")
        try:
            app.version = lookup.find(name, environment_name)["version"]
        except DeployedAppNotFound:
            if not create_if_missing:
                raise
            app.deploy(environment_name=environment_name)
        return app

    def include(self, other: App) -> App:
        """Adds another app's functions to this one; gives this one. Raises AlreadyExistsError where both have a name."""
        for name, function in other.functions.items():
            self._add(name, function)
        return self

    def run(
        self,
        *,
        watcher: Watcher | None = None,
        detach: bool = False,
        environment_name: str | None = None,
    ) -> RunContext:
        """A context in which the functions can be called remotely: `with app.run():` or `async with app.run():`.

        A server is started when none runs. At the end, calls and containers of the app end with it. watcher: what is
        told of progress. detach: not in this version. environment_name: where its containers look names up (SQUALL_ENVIRONMENT,
        else main). Raises InvalidError inside a container, ServerNotStarted, EnvironmentNotFound, and the errors of source and
        images that cannot be had.
        """
        if detach:
            raise InvalidError(
                "an app that outlives its client is deployed, not run",
                remedy="use `app.deploy()`, or leave `detach` out",
            )
        return RunContext(self, watcher, environment_name)

    def _add(self, name: str, function: Function[Any, Any] | DeclaredClass[Any]) -> None:
        known = self.functions.get(name)
        if known is not None and _place(known) != _place(function) and not _is_notebook():
            raise AlreadyExistsError(
                f"the app has two functions named {name!r}",
                remedy="give one of them another: `@app.function(name=...)`",
            )
        self.functions[name] = function
        raw = function.__squall_function__
        current.declared[f"{raw.__module__}:{raw.__qualname__}"] = raw
        if self._run is not None:
            run_blocking(self._run.add(function))

    def set_run(self, run: AppRun | None) -> None:
        """The run that new functions join, for cells that are evaluated while the app runs."""
        self._run = run


class RunContext:
    """What `app.run()` gives: a context manager, blocking and asynchronous."""

    def __init__(self, app: App, watcher: Watcher | None, environment: str | None = None) -> None:
        self._app = app
        # A container declares its app too, and opens none: each fork of a template would pay for what that takes.
        session = importlib.import_module("squall.sdk.session")
        self._run: AppRun = session.AppRun(app, watcher, environment)

    def __enter__(self) -> App:
        """Opens the app; returns when its functions can be called."""
        if current.in_container() is not None:
            raise _inside_out()
        self._run.prepare()
        run_blocking(self._run.open())
        self._app.set_run(self._run)
        return self._app

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the app."""
        self._app.set_run(None)
        run_blocking(self._run.close())

    async def __aenter__(self) -> App:
        """The same, awaited."""
        if current.in_container() is not None:
            raise _inside_out()
        self._run.prepare()
        await run_here(self._run.open())
        self._app.set_run(self._run)
        return self._app

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The same, awaited."""
        self._app.set_run(None)
        await run_here(self._run.close())


def _inside_out() -> InvalidError:
    return InvalidError(
        "app.run() is for the client, and this is a container, which imports the same file",
        remedy='put it below `if __name__ == "__main__":`, or into a function with `@app.local_entrypoint()`',
    )


def _is_async(raw: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(raw) or inspect.isasyncgenfunction(raw)


def _check_raw(raw: Any) -> None:
    if isinstance(raw, Function):
        raise InvalidError(f"{raw.name!r} is decorated with @app.function twice")
    if not callable(raw) or inspect.isclass(raw):
        raise InvalidError("@app.function decorates a function; a class is for @app.cls")


def _checked_tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    if tags is None:
        return {}
    if not isinstance(tags, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in tags.items()
    ):
        raise InvalidError("tags are a dict of strings")
    return dict(tags)


def _place(function: Function[Any, Any] | DeclaredClass[Any]) -> tuple[str, str]:
    raw = function.__squall_function__
    return (raw.__module__, raw.__qualname__)


def _is_notebook() -> bool:
    return "ipykernel" in sys.modules or not hasattr(sys.modules.get("__main__"), "__file__")


def _checked_volumes(volumes: Any) -> dict[str, Any]:
    try:
        found, buckets = split(volumes)
        return {**found, **buckets}
    except TypeError as wrong:
        raise InvalidError(f"App: {wrong}") from None


def _refuse_later(options: Mapping[str, Any]) -> None:
    for name in options:
        if name == "schedule":
            raise InvalidError(
                "a class has no schedule: nobody would say which of its methods is called",
                remedy="give it to an `@app.function` that calls the method",
            )
        if name in _LATER:
            raise InvalidError(
                f"@app.function({name}=...) is not there yet: {_LATER[name]}", remedy="leave it out for now"
            )
        raise InvalidError(f"@app.function has no option {name!r}", remedy="see `help(squall.App.function)`")


_LATER = {
    "enable_memory_snapshot": "templates are chosen by themselves",
    "region": "this machine is the only place",
    "cloud": "this machine is the only place",
    "proxy": "calls and networks have no proxy of ours",
    "nonpreemptible": "nothing is preempted",
    "experimental_options": "there are none",
}
