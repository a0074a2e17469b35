"""Deploy streams: what clients and containers ask of deployed apps, their versions and their environments."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from squall.model.deploy import (
    MAIN_ENVIRONMENT,
    DeployedName,
    VersionState,
    check_name,
    check_strategy,
    check_tag,
)
from squall.model.errors import (
    AlreadyExistsError,
    ConflictError,
    EnvironmentNotFound,
    InvalidError,
    VersionNotFound,
)
from squall.model.ids import APP, AppId, is_id
from squall.server.addressing import as_found
from squall.server.deploys import told_of
from squall.server.house import House
from squall.server.records import Worker
from squall.server.versions import content_of, without_variants
from squall.state.deploy_records import EnvironmentRecord, VersionRecord
from squall.wire.stream import Stream

Ask = Callable[[House, dict[str, Any], Worker | None], Awaitable[dict[str, Any]]]

LONGEST_WHO: Final = 100
_SERVED: Final = frozenset(
    {VersionState.SERVING, VersionState.DRAINING, VersionState.SUPERSEDED, VersionState.STOPPED}
)


async def deploy(house: House, stream: Stream, head: dict[str, Any], payload: bytes) -> None:
    """A version of an app, as its client describes it."""
    described = json.loads(payload)
    name = await _place(house, head)
    row = _row(
        head,
        name,
        tag=check_tag(head.get("tag", "")),
        functions=tuple(sorted(str(one["name"]) for one in described["functions"])),
        content=content_of(described, str(head.get("root", ""))),
    )
    house.vault.take(row.app, described.get("secrets", {}))
    await house.vault.keep(row.app, row.environment)
    await house.deploys.deploy(row, stream)


async def rollback(house: House, stream: Stream, head: dict[str, Any], _payload: bytes) -> None:
    """A version that is what an earlier one was: the one named, or the one that served before."""
    name = await _place(house, head)
    rows = await house.state.versions(environment=name.environment, name=name.app)
    old = _earlier(name, rows, head.get("version"))
    content = await house.state.version(old.app)
    assert content is not None, "what has just been listed is on record"
    row = _row(
        head,
        name,
        tag=old.tag,
        copy_of=old.copy_of or old.number,
        functions=old.functions,
        content=without_variants(content.content),
    )
    await house.vault.copy(old.app, row.app, row.environment)
    await house.deploys.deploy(row, stream)


def _earlier(name: DeployedName, rows: tuple[VersionRecord, ...], number: Any) -> VersionRecord:
    if not rows:
        raise VersionNotFound(
            f"nothing was ever deployed as {name}", remedy="deploy it: `squall deploy FILE`"
        )
    if number is not None and type(number) is not int:
        raise InvalidError(f"versions are counted 1, 2, 3: {number!r} is none")
    served = [row for row in rows if row.state in _SERVED]
    if number is None:
        now = next((row for row in served if row.state is VersionState.SERVING), None)
        is_now = {now.number, now.copy_of} if now is not None else set[int]()
        # Back from a rollback too: never to what serves already, whatever number that has.
        served = [row for row in served if row.number not in is_now and row.copy_of not in is_now - {0}]
        served = [row for row in served if now is None or row.number < now.number]
    else:
        served = [row for row in served if row.number == number]
    if not served:
        which = "no version before this one" if number is None else f"no version {number} that has served"
        listed = ", ".join(str(row.number) for row in reversed(rows) if row.state in _SERVED) or "none"
        raise VersionNotFound(f"{name} has {which}; those that have: {listed}")
    return served[0]


async def _place(house: House, head: dict[str, Any]) -> DeployedName:
    """Where something is deployed. Raises NameInvalid, EnvironmentNotFound."""
    app = check_name("an app", head.get("name"))
    environment = check_name("an environment", head.get("environment") or MAIN_ENVIRONMENT)
    there = await _environments(house)
    if environment not in there:
        raise EnvironmentNotFound(f"there is no environment {environment!r}; there is: {', '.join(there)}")
    return DeployedName(environment, app)


def _row(head: dict[str, Any], name: DeployedName, **what: Any) -> VersionRecord:
    """The version that a client asks for now. what: fields of it that the question does not say alone."""
    return VersionRecord(
        app=_id(head),
        environment=name.environment,
        name=name.app,
        created_s=time.time(),
        strategy=check_strategy(head.get("strategy", "rolling")),
        who=str(head.get("who", ""))[:LONGEST_WHO],
        **what,
    )


def _id(head: dict[str, Any]) -> AppId:
    app = AppId(str(head.get("app")))
    if not is_id(app, APP):
        raise InvalidError(f"{app!r} is no id of an app")
    return app


async def find(house: House, head: dict[str, Any], caller: Worker | None) -> dict[str, Any]:
    """A deployed app and its functions. head: `app`, and where it matters `environment` and `version`."""
    name = house.addressing.name_of(str(head.get("environment") or ""), str(head["app"]), caller)
    number = head.get("version")
    if number is not None and type(number) is not int:
        raise InvalidError(f"versions are counted 1, 2, 3: {number!r} is none")
    return dict(as_found(house.addressing.find(name, number)))


async def history(house: House, head: dict[str, Any], _caller: Worker | None) -> dict[str, Any]:
    """Every version of an app that is remembered, the newest first. Raises DeployedAppNotFound."""
    name = DeployedName(str(head.get("environment") or MAIN_ENVIRONMENT), str(head["app"]))
    rows = await house.state.versions(environment=name.environment, name=name.app)
    if not rows:
        raise house.addressing.unknown(name)
    return {"app": name.app, "environment": name.environment, "versions": [told_of(row) for row in rows]}


async def _environments(house: House) -> list[str]:
    return sorted({MAIN_ENVIRONMENT, *(one.name for one in await house.state.environments())})


async def environments(house: House, _head: dict[str, Any], _caller: Worker | None) -> dict[str, Any]:
    """Every environment, with what is deployed there."""
    apps = house.addressing.serving
    return {
        "environments": [
            {"name": name, "apps": sorted(one.app for one in apps if one.environment == name)}
            for name in await _environments(house)
        ]
    }


async def environment_create(house: House, head: dict[str, Any], _caller: Worker | None) -> dict[str, Any]:
    """Makes an environment. Raises NameInvalid, AlreadyExistsError."""
    name = check_name("an environment", head.get("name"))
    made = EnvironmentRecord(name=name, created_s=time.time())
    if name == MAIN_ENVIRONMENT or not await house.state.record_environment(made):
        raise AlreadyExistsError(
            f"there is an environment {name!r} already", remedy="use it, or choose another name"
        )
    return {"name": name}


async def environment_delete(house: House, head: dict[str, Any], _caller: Worker | None) -> dict[str, Any]:
    """Forgets an environment and the history of its apps. Raises EnvironmentNotFound, ConflictError while one is deployed."""
    name = str(head.get("name"))
    if name == MAIN_ENVIRONMENT:
        raise InvalidError(
            "the environment main is always there", remedy="stop its apps: `squall app stop APP`"
        )
    there = await _environments(house)
    if name not in there:
        raise EnvironmentNotFound(f"there is no environment {name!r}; there is: {', '.join(there)}")
    volumes = [volume.name for volume, _ in await house.state.volumes() if volume.environment == name]
    if volumes:
        raise ConflictError(
            f"the environment {name} has volumes: {', '.join(filter(None, volumes))}",
            remedy=f"delete them first: `squall volume delete NAME --env {name}`",
        )
    if not await house.state.drop_environment(name):
        inside = sorted(
            {one.deployed.app for one in house.deploys.versions.values() if one.row.environment == name}
        )
        raise ConflictError(
            f"the environment {name} has apps: {', '.join(inside) or 'some that are just ending'}",
            remedy=f"stop them first: `squall app stop APP --env {name}`",
        )
    await house.vault.forget_environment(name)
    return {"name": name}


STREAMS: Final[Mapping[str, Callable[[House, Stream, dict[str, Any], bytes], Coroutine[Any, Any, None]]]] = {
    "deploy": deploy,
    "deploy.rollback": rollback,
}
QUESTIONS: Final[Mapping[str, Ask]] = {
    "app.find": find,
    "app.history": history,
    "environment.list": environments,
    "environment.create": environment_create,
    "environment.delete": environment_delete,
}
