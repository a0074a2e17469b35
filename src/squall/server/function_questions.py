"""Function questions: what a function is, how much it has to do, its calls and its variants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from squall.model.call import CallState
from squall.model.container import ContainerState
from squall.model.deploy import MAIN_ENVIRONMENT, DeployedName
from squall.model.errors import FunctionNotFound, InvalidError
from squall.model.function import Function
from squall.model.ids import AppId, CallId, FunctionId
from squall.model.parameters import POOL
from squall.model.variant import MARK, read_changes, split_changes, varied
from squall.server import listing
from squall.server.addressing import Asked
from squall.server.apps import bound_to
from squall.server.deploys import told_of
from squall.server.house import House
from squall.server.records import AppRecord, FunctionRecord, Worker
from squall.server.slow_starts import why_waits
from squall.state import records

Ask = Callable[[House, dict[str, Any], Worker | None], Awaitable[dict[str, Any]]]

MOST_CALLS: Final = 1000
RECENT: Final = 1000
"""How many of its last calls say how a function has done."""
_VERSIONS: Final = 10
"""Of how many versions of an app calls are told, the newest of them."""


async def info(house: House, head: dict[str, Any], caller: Worker | None) -> dict[str, Any]:
    """What a function was declared as, and which variants and sets of parameters it has."""
    app, known = asked_function(house, head, caller)
    function = known.function
    return {
        **_where(app, known),
        "kind": "class" if function.methods else "function",
        "module": function.code.module,
        "methods": {one.name: one.is_generator for one in function.methods},
        "parameters": {one.name: one.kind for one in function.parameters},
        "values": function.values if function.parameters else None,
        "is_generator": function.is_generator,
        "options": options_of(function),
        "containers": len(known.workers),
        "variants": [one.function.name for one in _others(app, known)],
    }


def options_of(function: Function) -> dict[str, Any]:
    """What can be said of a function in its decorators, as it holds now; of `env` the names alone: values may be secrets."""
    scaling = function.scaling
    return {
        "cpu": function.asks.cpu_milli / 1000,
        "cpu_limit": None if function.limits.cpu_milli is None else function.limits.cpu_milli / 1000,
        "memory": function.asks.memory_mib,
        "memory_limit": function.limits.memory_mib,
        "gpu": [str(one) for one in function.gpu],
        "env": sorted(function.env),
        "secrets": [use.name or ", ".join(use.variables) for use in function.secrets],
        "volumes": {mount.path: mount.volume for mount in function.volumes},
        "buckets": {mount.path: mount.bucket for mount in function.buckets},
        "schedule": None if function.schedule is None else str(function.schedule),
        "timeout": function.timeout_s,
        "startup_timeout": function.startup_timeout_s,
        "retries": None if function.retries is None else function.retries.max_retries,
        "min_containers": scaling.min_containers,
        "max_containers": scaling.max_containers,
        "buffer_containers": scaling.buffer_containers,
        "scaledown_window": scaling.scaledown_window_s,
        "single_use_containers": function.single_use,
        "max_inputs": function.max_inputs,
        "target_inputs": function.target_inputs,
        "max_batch_size": function.max_batch or None,
        "wait_ms": function.batch_wait_s * 1e3 if function.max_batch else None,
        "on_lost": function.on_lost,
        "block_network": function.block_network,
        "level": function.level,
    }


async def app_info(house: House, head: dict[str, Any], _caller: Worker | None) -> dict[str, Any]:
    """An app, its functions, and what is on record of its version."""
    app = app_of(house, head)
    row = next(row for row in listing.apps(house) if row["id"] == app.id)
    version = house.deploys.versions.get(app.id)
    functions = [
        {
            "function": known.function.name,
            "kind": "class" if known.function.methods else "function",
            "containers": len(known.workers),
            "calls": len(known.line.calls),
            "waiting": known.pending,
        }
        for known in app.functions.values()
    ]
    told = {} if version is None else told_of(replace(version.row, state=version.state))
    return {"app": row, "functions": functions, "version": told}


async def stats(house: House, head: dict[str, Any], caller: Worker | None) -> dict[str, Any]:
    """How much a function has to do; of an app without a `name`, all its functions. With `recent`, how its last calls ended."""
    if "fn" in head or "name" in head:
        app, known = asked_function(house, head, caller)
        found = [(app, one) for one in (known, *(_others(app, known) if "name" in head else ()))]
    else:
        app = app_of(house, head)
        found = [(app, known) for known in app.functions.values()]
    rows = [{**_where(app, known), **_now(house, known)} for app, known in found]
    if head.get("recent"):
        await house.state.flush()
        for row in rows:
            row["recent"] = await _recent(house, FunctionId(row["id"]))
    return {"functions": rows}


def _now(house: House, known: FunctionRecord) -> dict[str, Any]:
    workers = [one for one in known.workers.values() if not one.retiring]
    in_hand = [sum(lease.count for lease in leases) for leases in known.line.leases.values()]
    why = why_waits(known, house.clock()) if known.line.waiting else None
    ready = [one for one in workers if one.ready]
    return {
        "backlog": known.pending,
        "running": sum(in_hand),
        "calls": len(known.line.calls) + known.entering,
        "containers": len(workers),
        "starting": sum(not one.ready for one in workers),
        "idle": sum(one.state is ContainerState.IDLE for one in ready),
        "arrivals_per_s": round(known.arrivals.per_s(house.clock()), 3),
        "oldest_wait_s": round(house.clock() - known.waiting_since_s, 3) if why is not None else 0.0,
        "waits_for": None if why is None else str(why.reason),
        "words": "" if why is None else why.words,
    }


async def _recent(house: House, function: FunctionId) -> dict[str, Any]:
    ended = [
        one
        for one in await house.state.calls(function=function, limit=RECENT)
        if one.state is not CallState.OPEN
    ]
    return {
        "calls": len(ended),
        "cancelled": sum(one.state is CallState.CANCELLED for one in ended),
        "inputs": sum(one.done for one in ended),
        "failed": sum(one.failed for one in ended),
        "since_s": min((one.created_s for one in ended), default=None),
    }


async def calls(house: House, head: dict[str, Any], caller: Worker | None) -> dict[str, Any]:
    """The calls of a function, with its variants and sets of parameters, the newest first; those of the last versions too."""
    limit = head.get("limit", 100)
    if type(limit) is not int or not 1 <= limit <= MOST_CALLS:
        raise InvalidError(f"from 1 to {MOST_CALLS} calls are told of at once, not {limit!r}")
    app, known = asked_function(house, head, caller)
    await house.state.flush()
    homes: dict[AppId, int | None] = {app.id: app.version or None}
    if app.version and head.get("version") is None:
        versions = await house.state.versions(environment=app.environment, name=app.name)
        homes = {row.app: row.number for row in versions[:_VERSIONS]}
    names = [known.function.name, *(one.function.name for one in _others(app, known))]
    found: dict[CallId, records.CallRecord] = {}
    for home in homes:
        for name in names:
            function = FunctionId(f"{home}/{name}")
            for one in await house.state.calls(function=function, limit=limit):
                found[one.id] = one
            for running in house.calls.calls.values():
                if running.function == function and running.id not in found:
                    found[running.id] = house.durable.summary(running, CallState.OPEN)
    newest = sorted(found.values(), key=lambda one: one.created_s, reverse=True)[:limit]
    return {"calls": [_call_row(one, homes) for one in newest]}


def _call_row(call: records.CallRecord, homes: Mapping[AppId, int | None]) -> dict[str, Any]:
    app, _, name = call.function.partition("/")
    return {
        "call": call.id,
        "function": name,
        "version": homes[AppId(app)],
        "verb": str(call.verb),
        "parent": call.parent,
        "state": str(call.state),
        "inputs": call.inputs,
        "done": call.done,
        "failed": call.failed,
        "created_s": call.created_s,
        "ended_s": call.ended_s,
    }


async def variants(house: House, head: dict[str, Any], caller: Worker | None) -> dict[str, Any]:
    """The variants of a function and the sets of parameters of a class, each with what it has of its own."""
    app, known = asked_function(house, head, caller)
    own = options_of(known.function)
    rows = []
    for one in (known, *_others(app, known)):
        options = options_of(one.function)
        rows.append(
            {
                "id": one.function.id,
                "function": one.function.name,
                "values": one.function.values if one.function.parameters else None,
                "changed": {key: value for key, value in options.items() if value != own[key]},
                "containers": len(one.workers),
                "calls": len(one.line.calls),
                "waiting": one.pending,
            }
        )
    return {"variants": rows}


def app_of(house: House, head: Mapping[str, Any]) -> AppRecord:
    """The app that is meant: by its id, deployed under this name in this environment, or running under it, the newest of these.

    Raises DeployedAppNotFound, VersionNotFound, NotFoundError.
    """
    name, number = str(head["app"]), head.get("version")
    known = house.apps.apps.get(AppId(name))
    if known is not None:
        return known
    if number is not None and type(number) is not int:
        raise InvalidError(f"versions are counted 1, 2, 3: {number!r} is none")
    deployed = DeployedName(str(head.get("environment") or MAIN_ENVIRONMENT), name)
    if number is not None or deployed in house.addressing.serving:
        return house.addressing.find(deployed, number).app
    if head.get("only_deployed"):
        raise house.addressing.unknown(deployed)
    found = house.apps.find(name)
    if found.version:
        raise house.addressing.unknown(deployed)  # one of that name is deployed somewhere else
    return found


def asked_function(
    house: House, head: dict[str, Any], caller: Worker | None
) -> tuple[AppRecord, FunctionRecord]:
    """The function that is meant, and its app. Asking makes none: a variant that nobody called has nothing to do."""
    if "fn" not in head:
        app = app_of(house, head)
        known = app.functions.get(str(head["name"]))
        if known is None:
            there = ", ".join(sorted(app.functions)) or "none"
            raise FunctionNotFound(
                f"the app {app.name} has no function {head['name']!r}; it has: {there}",
                remedy="name one of those",
            )
        return app, known
    text, changes = split_changes(str(head["fn"]))
    name = house.addressing.function(text, Asked(CallId(""), caller=caller))
    known = house.calls.functions.get(name)
    home = house.apps.apps.get(AppId(name.partition("/")[0]))
    if known is None or home is None:
        raise FunctionNotFound(f"there is no function {head['fn']!r} here, or its app has stopped")
    function = known.function
    if changes:
        function = varied(function, read_changes(changes))
    if "with" in head:
        function = bound_to(function, head["with"])
    return home, home.functions.get(function.name) or FunctionRecord(function)


def _others(app: AppRecord, known: FunctionRecord) -> list[FunctionRecord]:
    """Its variants, and a class with other values of its parameters."""
    own = known.function.name
    return [one for name, one in sorted(app.functions.items()) if name.startswith((own + MARK, own + POOL))]


def _where(app: AppRecord, known: FunctionRecord) -> dict[str, Any]:
    return {
        "id": known.function.id,
        "function": known.function.name,
        "app": app.name,
        "environment": app.environment or None,
        "version": app.version or None,
        "state": app.state,
    }


QUESTIONS: Final[Mapping[str, Ask]] = {
    "app.info": app_info,
    "function.info": info,
    "function.stats": stats,
    "function.calls": calls,
    "function.variants": variants,
}
