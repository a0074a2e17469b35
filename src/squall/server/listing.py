"""Listing: what runs here, for people and programs that ask; and the few things they may do to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import time
from dataclasses import asdict
from typing import Any

from squall.model.container import WaitReason
from squall.model.deploy import MAIN_ENVIRONMENT, DeployedName
from squall.model.errors import ConnectionLost, Error, NotFoundError
from squall.model.ids import AppId, CallId
from squall.server.house import House
from squall.server.records import AppRecord, FunctionRecord, Worker
from squall.server.slow_starts import why_waits
from squall.settings.version import PROTOCOL, VERSION
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream

AGENT_ANSWERS_S = 2.0


async def status(house: House, _head: dict[str, Any]) -> dict[str, Any]:
    """Pids of the agent, launchers and containers, apps, and what waits, with its reason."""
    launchers: list[dict[str, Any]] = []
    agent: dict[str, Any] | None = None
    session = house.nodes.session_of()
    # One that is stopped or hangs must not keep anybody from seeing that, nor from ending everything.
    with contextlib.suppress(TimeoutError, ConnectionLost):
        if session is not None:
            async with asyncio.timeout(AGENT_ANSWERS_S):
                frame = await session.ask("launchers")
            told = json.loads(bytes(frame.payload))
            launchers, agent = told["launchers"], {"pid": told["pid"]}
    return {
        "version": VERSION,
        "protocol": PROTOCOL,
        "server": {"pid": os.getpid()},
        "agent": agent,
        "launchers": launchers,
        "containers": [container_row(house, worker) for worker in house.calls.workers.values()],
        "apps": apps(house),
        "waiting": waiting(house),
        "calls": len(house.calls.calls),
        "record": {
            "where": house.state.where,
            "trouble": house.state.trouble,
            "backup_trouble": house.backups.trouble,
        },
        "on_record": house.durable.waiting,
        "unrecorded": {"inputs": house.durable.unrecorded, "reason": house.durable.trouble},
        "fenced": sum(record.line.fenced for record in house.calls.functions.values()),
        "nodes": [
            {
                "id": node.id,
                "level": node.level,
                "capacity": str(node.capacity),
                "gpus": {part.type: part.count for part in node.gpus},
                "gpus_out": [{"id": out.id, "type": out.type, "why": out.why} for out in node.gpus_out],
            }
            for node in house.nodes.nodes()
        ],
    }


def waiting(house: House) -> list[dict[str, Any]]:
    """The functions whose inputs wait, and why."""
    rows = []
    for name, record in house.calls.functions.items():
        if record.line.waiting:
            why = why_waits(record, house.clock())
            oldest_s = round(house.clock() - record.waiting_since_s, 3)
            row = {"function": name, "inputs": record.line.waiting, "reason": why.reason, "words": why.words}
            rows.append({**row, "oldest_s": oldest_s})
        if record.refused is not None and record.line.resting + record.paged:
            rows.append(
                {
                    "function": name,
                    "inputs": record.line.resting + record.paged,
                    "reason": WaitReason.BUDGET,
                    "words": house.budgets.waits_in_words(record.refused),
                    "oldest_s": 0.0,
                }
            )
    return rows


def apps(house: House) -> list[dict[str, Any]]:
    """The apps that run, with how many calls each has."""
    rows: list[dict[str, Any]] = []
    for record in house.apps.apps.values():
        row = house.apps.describe(record)
        ages = house.clock() - record.created_s
        row["created"] = time.time() - ages
        row["calls"] = sum(len(known.line.calls) for known in record.functions.values())
        rows.append(row)
    return rows


def container_row(house: House, worker: Worker) -> dict[str, Any]:
    """One row of `squall container list`."""
    record = house.calls.functions.get(worker.function)
    held = record.line.leases.get(worker.id, []) if record is not None else []
    return {
        "id": worker.id,
        "function": worker.function.partition("/")[2],
        "app": worker.function.partition("/")[0],
        **_whose(house, worker),
        "state": worker.state,
        "pid": worker.pid,
        "launcher_pid": worker.launcher_pid,
        "level": worker.level,
        "rung": worker.rung,
        "why": worker.rung_why,
        "phases_ms": worker.phases_ms,
        "waited_ms": worker.waited_ms,
        "gpus": None if worker.gpus is None else str(worker.gpus),
        "gpu_ids": list(worker.gpu_ids),
        "inputs": sum(lease.count for lease in held),
        "age_s": round(house.clock() - worker.created_s, 3),
    }


def _whose(house: House, worker: Worker) -> dict[str, Any]:
    """The name of a container's app, and where it is deployed."""
    app = house.apps.apps.get(AppId(worker.function.partition("/")[0]))
    if app is None:
        return {"app_name": None, "environment": None, "version": None}
    return {"app_name": app.name, "environment": app.environment or None, "version": app.version or None}


async def app_list(house: House, _head: dict[str, Any]) -> dict[str, Any]:
    """The apps that run."""
    return {"apps": apps(house)}


async def function_list(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """The functions of the apps that run; head: where they matter, `app` (a name or id) and `environment`. Raises NotFoundError."""
    app, environment = head.get("app"), head.get("environment")
    records = [
        record
        for record in house.apps.apps.values()
        if app in {None, record.id, record.name} and environment in {None, record.environment}
    ]
    if app is not None and not records:
        house.apps.find(str(app))
        raise house.addressing.unknown(DeployedName(str(environment), str(app)))
    return {
        "functions": [
            _function_row(record, known) for record in records for known in record.functions.values()
        ]
    }


def _function_row(app: AppRecord, known: FunctionRecord) -> dict[str, Any]:
    """One row of `squall function list`."""
    return {
        "id": known.function.id,
        "function": known.function.name,
        "app": app.name,
        "environment": app.environment or None,
        "version": app.version or None,
        "state": app.state,
        "containers": len(known.workers),
        "calls": len(known.line.calls),
        "waiting": known.pending,
    }


async def app_stop(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """Stops an app by name or id; a deployed one with all its versions."""
    asked, environment = str(head["app"]), head.get("environment")
    name = DeployedName(str(environment or MAIN_ENVIRONMENT), asked)
    versions = house.deploys.versions
    by_id = versions.get(AppId(asked))
    if by_id is not None:
        name = by_id.deployed
    if any(one.deployed == name for one in versions.values()):
        serving = house.addressing.serving.get(name)
        told = await house.deploys.stop(name)
        return {
            "id": serving.app.id if serving is not None else "",
            "name": name.app,
            "environment": name.environment,
            "containers": told,
        }
    if head.get("only_deployed"):
        raise house.addressing.unknown(name)
    record = house.apps.find(asked)
    if record.version:
        raise house.addressing.unknown(name)  # one of that name is deployed somewhere else
    told = house.apps.stop(record.id)
    return {"id": record.id, "name": record.name, "containers": told}


async def container_list(house: House, _head: dict[str, Any]) -> dict[str, Any]:
    """The containers that run."""
    return {"containers": [container_row(house, worker) for worker in house.calls.workers.values()]}


async def container_stop(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """Stops a container; what it was working on is run again elsewhere."""
    worker = find_container(house, str(head["container"]))
    house.capacity.stop(worker)
    return {"id": worker.id}


def find_container(house: House, name: str) -> Worker:
    """A container by id, or by the beginning of one. Raises NotFoundError."""
    found = [worker for worker in house.calls.workers.values() if worker.id == name]
    found = found or [
        worker for worker in house.calls.workers.values() if len(name) >= 6 and worker.id.startswith(name)
    ]
    if len(found) != 1:
        raise NotFoundError(
            f"no container {name!r} runs here", remedy="`squall container list` shows those that run"
        )
    return found[0]


async def container_exec(house: House, stream: Stream, head: dict[str, Any]) -> None:
    """Runs a command in a container: its ends go to the client, then its exit status."""
    worker = find_container(house, str(head["container"]))
    session = house.nodes.session_of(house.capacity.placed.get(worker.id))
    if session is None:
        raise ConnectionLost("the agent of that container is away")
    ended: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

    def from_agent(frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            if stream.live:
                stream.send(frame.head(), frame.payload, fds=frame.fds)
        elif not ended.done() and frame.kind in (Kind.END, Kind.FAIL):
            ended.set_result(frame)

    wish: dict[str, Any] = {
        key: head[key] for key in ("argv", "tty", "rows", "cols", "env", "cwd") if key in head
    }
    apart = not (session.channel.local and stream.local)
    down = session.open("exec", {**wish, "container": worker.id, "apart": apart}, on_frame=from_agent)
    stream.on_frame = lambda frame: pass_up(down, frame)
    last = await ended
    if last.kind is Kind.FAIL:
        raise Error.from_wire(last.head())
    if stream.live:
        stream.end(last.head())


def pass_up(down: Stream, frame: Frame) -> None:
    """What a client says to a command on its node."""
    if frame.kind is Kind.CANCEL:
        down.cancel()
    elif frame.kind is Kind.DATA and down.live:
        down.send(frame.head(), frame.payload)


async def call_info(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """What is known of a durable call."""
    found: dict[str, Any] = await house.durable.info(CallId(head["call"]))
    return found


async def usage(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """What containers took that ended since an instant, by function."""
    await house.state.flush()
    found = await house.state.usage(
        since_s=float(head["since_s"]), until_s=float(head.get("until_s", math.inf))
    )
    return {"usage": [asdict(one) for one in found]}


QUESTIONS = {
    "status": status,
    "app.list": app_list,
    "app.stop": app_stop,
    "function.list": function_list,
    "container.list": container_list,
    "container.stop": container_stop,
    "usage": usage,
}
