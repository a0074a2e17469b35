"""Log questions: what containers have printed, and what they print from now on."""

from __future__ import annotations

from typing import Any, Final

from squall.model.deploy import MAIN_ENVIRONMENT, Address, DeployedName
from squall.model.errors import VersionNotFound
from squall.model.ids import AppId, ContainerId, FunctionId
from squall.server.function_questions import asked_function
from squall.server.house import House
from squall.server.records import Worker
from squall.state.log_lines import LogEntry, LogFilter
from squall.wire.stream import Stream

LOG_BATCH: Final = 256
_VERSIONS: Final = 10
"""Of how many versions of a deployed app logs are shown, the newest of them."""


async def logs(house: House, stream: Stream, head: dict[str, Any], caller: Worker | None) -> None:
    """What containers have printed, and with "follow" what they print from now on."""
    wish: dict[str, Any] = {key: head.get(key) for key in ("function", "container")}
    if "fn" in head:
        wish |= _of_function(house, head, caller)
    elif head.get("app"):
        wish |= await _of_app(house, head)
    homes = await _homes(house, wish)
    if head.get("follow"):
        house.logs.follow(stream, wish)
    container = head.get("container")
    wanted = LogFilter(
        container=ContainerId(str(container)) if container else None,
        name=wish["function"] or None,
        since_s=head.get("since"),
    )
    left, parts = int(head.get("lines") or 1000), list[list[LogEntry]]()
    # From the newest version on backwards, as far as so many lines go back; they are sent in their order.
    for name in reversed(homes):
        rows = [entry async for entry in house.log_store.read(name, wanted, tail=left)]
        parts.append(rows)
        left -= len(rows) if "deployed" in wish else 0
        if left <= 0:
            break
    for rows in reversed(parts):
        for start in range(0, len(rows), LOG_BATCH):
            _send_rows(stream, rows[start : start + LOG_BATCH])
    if not head.get("follow") and stream.live:
        stream.end({})


def _of_function(house: House, head: dict[str, Any], caller: Worker | None) -> dict[str, Any]:
    """What tells the output of a function: of every version where its address names none."""
    app, known = asked_function(house, head, caller)
    address = Address.read(str(head["fn"]).partition("?")[0])
    name = known.function.name
    if address is None or address.version is not None:
        return {"function": name, "app": app.id}
    return {"function": name, "deployed": (app.environment, app.name)}


async def _of_app(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """What tells the output of an app: by its id, deployed under this name, or one that ran under it last."""
    asked, number = str(head["app"]), head.get("version")
    name = DeployedName(str(head.get("environment") or MAIN_ENVIRONMENT), asked)
    rows = await house.state.versions(environment=name.environment, name=name.app)
    if number is not None:
        for row in rows:
            if row.number == number:
                return {"app": row.app}
        if not rows:
            raise house.addressing.unknown(name)
        there = ", ".join(str(row.number) for row in reversed(rows))
        raise VersionNotFound(f"{name} has no version {number}; it has had: {there}")
    if rows:
        return {"deployed": (name.environment, name.app)}
    if head.get("only_deployed"):
        raise house.addressing.unknown(name)
    app = _log_app(house, asked)
    if app == asked and app not in house.log_apps() and app not in house.apps.apps:
        house.apps.find(asked)
    return {"app": app}


async def _homes(house: House, wish: dict[str, Any]) -> list[AppId]:
    """The apps whose output it is, the newest last."""
    if "app" in wish:
        return [wish["app"]]
    if "deployed" not in wish:
        return list(house.log_apps())
    environment, name = wish["deployed"]
    rows = await house.state.versions(environment=environment, name=name)
    return [row.app for row in reversed(rows[:_VERSIONS])]


def _send_rows(stream: Stream, entries: list[LogEntry]) -> None:
    """Sends entries, those of one container together."""
    start = 0
    for place in range(1, len(entries) + 1):
        if place < len(entries) and entries[place].container == entries[start].container:
            continue
        part = entries[start:place]
        texts = [entry.text.encode("utf-8", "surrogateescape") for entry in part]
        rows = [[entry.stream, len(text), entry.at_s] for entry, text in zip(part, texts, strict=True)]
        if stream.live:
            name = FunctionId(part[0].function).partition("/")[2]
            stream.send({"log": name, "container": part[0].container, "L": rows}, *texts)
        start = place


def _log_app(house: House, name: str) -> AppId:
    for record in reversed(house.apps.apps.values()):
        if name in (record.id, record.name):
            return record.id
    for row in reversed(house.apps.ended):
        if name in (row["id"], row["name"]):
            return AppId(row["id"])
    return AppId(name)
