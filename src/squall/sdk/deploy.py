"""Deploy: what `app.deploy` is: the app as a version that stays, blocking and awaited."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any, Generic, Protocol, TypeVar

from squall.context import current
from squall.model.deploy import check_name, check_strategy, check_tag
from squall.model.errors import InvalidError, NameInvalid
from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.watch import PlainWatcher, Watcher


class _App(Protocol):
    name: str | None
    version: int | None


A = TypeVar("A", bound=_App)


class Deploy(Generic[A]):
    """`app.deploy()`: has the app stay, as the next version under its name."""

    __slots__ = ("_app",)

    def __init__(self, app: A) -> None:
        self._app = app

    def __call__(
        self,
        *,
        name: str | None = None,
        environment_name: str | None = None,
        tag: str = "",
        strategy: str = "rolling",
        watcher: Watcher | None = None,
    ) -> A:
        """Returns once the new version takes every new call; the app, whose functions can be called then, and `version`.

        The app outlives this process, its server and its machine's restart. Calls that the version before has in hand are ended
        by it. A version whose images cannot be built, or whose functions cannot be loaded, takes no call: the one before
        goes on.

        name: the app's own, unless it is given. environment_name: where it is deployed (SQUALL_ENVIRONMENT, else main).
        tag: up to 64 letters, digits and `-_.` shown in its history. strategy: "rolling" starts it beside the one
        before, "recreate" once the calls and containers of that have ended, new calls waiting meanwhile. watcher: what is told
        of progress.

        Raises NameInvalid, EnvironmentNotFound, DeployFailed (caused by what the code raised), DeploySuperseded,
        ImageBuildError and its like, InvalidError inside a container.
        """
        wish, run = self._begin(name, environment_name, watcher, tag=tag, strategy=strategy)
        run.prepare()
        self._app.version = run_blocking(run.deploy(wish))["version"]
        return self._app

    async def aio(
        self,
        *,
        name: str | None = None,
        environment_name: str | None = None,
        tag: str = "",
        strategy: str = "rolling",
        watcher: Watcher | None = None,
    ) -> A:
        """The same, awaited."""
        wish, run = self._begin(name, environment_name, watcher, tag=tag, strategy=strategy)
        await asyncio.to_thread(run.prepare)
        self._app.version = (await run_here(run.deploy(wish)))["version"]
        return self._app

    def _begin(
        self, name: str | None, environment: str | None, watcher: Watcher | None, **said: str
    ) -> tuple[Any, Any]:
        if current.in_container() is not None:
            raise InvalidError(
                "app.deploy() is for the client, and this is a container, which imports the same file",
                remedy='put it below `if __name__ == "__main__":`, or use `squall deploy FILE`',
            )
        chosen = name if name is not None else self._app.name
        if chosen is None:
            raise NameInvalid(
                "an app without a name is deployed",
                remedy='give it one: `squall.App("my-app")`, `app.deploy(name="my-app")` or `--name my-app`',
            )
        check_name("an app", chosen)
        check_tag(said["tag"])
        check_strategy(said["strategy"])
        # A container declares its app too, and deploys none: each fork of a template would pay for what that takes.
        session = importlib.import_module("squall.sdk.session")
        deploying = importlib.import_module("squall.sdk.deploying")
        wish = deploying.DeployWish(
            name=chosen,
            environment=importlib.import_module("squall.sdk.environments").environment_of(environment),
            who=importlib.import_module("squall.sdk.who").who_asks(),
            **said,
        )
        return wish, session.AppRun(self._app, watcher if watcher is not None else PlainWatcher())
