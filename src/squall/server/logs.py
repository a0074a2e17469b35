"""Logs: what containers print, to the clients that watch and to the disk."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

from squall.model.errors import ChannelClosed
from squall.model.ids import AppId, ContainerId, FunctionId
from squall.server.log_redaction import HELD_S, LogRedaction
from squall.server.records import AppRecord, Worker
from squall.server.vault import Vault
from squall.state.log_lines import LogEntry, LogStream
from squall.state.log_store import LogStore
from squall.wire.stream import Stream

Whose = tuple[AppId, str]
"""An app, and the name of a function of it."""


class _House(Protocol):
    calls: Any
    apps: Any
    log_store: LogStore
    vault: Vault
    later: Any


class Logs:
    """Takes records from agents: to the app's client, to whoever follows, and to the log store, without values of secrets."""

    def __init__(self, house: _House) -> None:
        self._house = house
        self._redaction = LogRedaction(house.vault.redactor)
        self._followers: dict[Stream, dict[str, Any]] = {}

    def take(self, head: dict[str, Any], payload: memoryview) -> None:
        """Records of one container: "L" is a list of [stream, bytes, seconds since 1970]; text in the payload."""
        container = ContainerId(head["container"])
        whose = self._origin(container, head)
        rows, payload = self._redaction.take(whose[0], _who(container, whose), head["L"], payload)
        if self._redaction.holds(_who(container, whose)):
            self._house.later(HELD_S, self.let_go, container, whose)
        self._pass_on(container, whose, rows, payload)

    def let_go(self, container: ContainerId, whose: Whose | None = None) -> None:
        """What was held back of a container's output, as it may have been the beginning of a secret, goes on as it is."""
        if not self._redaction.holds_any:
            return  # asked before each outcome
        whose = whose or self._origin(container, {})
        if self._redaction.holds(_who(container, whose)):
            self._pass_on(container, whose, *self._redaction.let_go(_who(container, whose)))

    def _pass_on(
        self,
        container: ContainerId,
        whose: Whose,
        rows: list[list[Any]],
        payload: memoryview,
    ) -> None:
        app_id, function = whose
        if not rows:
            return
        at = 0
        entries: list[LogEntry] = []
        for tag, size, when in rows:
            text = bytes(payload[at : at + size]).decode("utf-8", "surrogateescape")
            at += size
            stream = LogStream.STDOUT if tag == "o" else LogStream.STDERR
            name = FunctionId(f"{app_id}/{function}")
            entries.append(LogEntry(at_s=when, container=container, function=name, stream=stream, text=text))
        app: AppRecord | None = self._house.apps.apps.get(app_id)
        if app is not None and app.stream is not None and app.stream.live:
            _send(app.stream, {"log": function, "container": container, "L": rows}, payload)
            self._house.calls.has_printed(app_id)
        for follower, wish in list(self._followers.items()):
            if not follower.live:
                del self._followers[follower]
            elif all(
                wish.get(key) in (None, value)
                for key, value in (("app", app_id), ("function", function), ("container", container))
            ):
                _send(follower, {"log": function, "container": container, "L": rows}, payload)
        if app_id:
            self._house.log_store.append(app_id, entries)

    def follow(self, stream: Stream, wish: dict[str, Any]) -> None:
        """Sends every further record that fits: wish names an app, a function, a container, or nothing."""
        self._followers[stream] = wish

    def _origin(self, container: ContainerId, head: dict[str, Any]) -> Whose:
        worker: Worker | None = self._house.calls.workers.get(container)
        function = worker.function if worker is not None else str(head.get("function", ""))
        app, _, name = function.partition("/")
        return AppId(app), name


def _who(container: ContainerId, whose: Whose) -> str:
    """Whose output it is: a container's, or that of a function's code in its template, which has no name."""
    return container or "/".join(whose)


def _send(stream: Stream, head: dict[str, Any], payload: memoryview) -> None:
    """Output of a container to a client. That this one has just gone is nothing that the container's node did wrong."""
    with contextlib.suppress(ChannelClosed):
        stream.send(head, payload)
