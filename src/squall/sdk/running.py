"""Running: an app on a server, from its opening to its end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from squall.model.errors import AppStopped, ConnectionLost, Error
from squall.model.jsonable import to_json
from squall.sdk.client import Client
from squall.wire.codec import Frame, Kind
from squall.wire.session import Session
from squall.wire.stream import Stream

Event = dict[str, Any]
Watch = Callable[[Event, memoryview], None]


class RunningApp:
    """One app's stream: opened again on every new connection, until it is closed.

    described: what the server is told of it; watch: gets what the server tells (logs, progress), on the client's loop.
    """

    rank = 0

    def __init__(self, client: Client, head: Event, described: dict[str, Any], watch: Watch) -> None:
        self._client = client
        self._head = head
        self._described = described
        self._watch = watch
        self._stream: Stream | None = None
        # Whether a server had it ready once: what has run does not end because a node is not ready now.
        self._ran = False
        self._opened: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._added: dict[int, asyncio.Future[None]] = {}

    async def open(self) -> None:
        """Opens it, and waits until images and sources are ready. Raises ImageBuildError and its like."""
        self._opened = asyncio.get_running_loop().create_future()
        self._client.add(self)
        try:
            await self._opened
        except BaseException:
            await self.close()
            raise

    async def add(self, function: Any, secrets: dict[str, dict[str, str]]) -> None:
        """Makes one more function known, and waits until its image and source are ready. secrets: values that come with it."""
        described = to_json(function)
        self._described["functions"].append(described)
        if secrets:
            self._described["secrets"] = self._described.get("secrets", {}) | secrets
        number = len(self._described["functions"])
        added = self._added[number] = asyncio.get_running_loop().create_future()
        # Where its connection has just ended, the next one is told of all functions.
        if self._stream is not None and self._stream.live and not self._client.is_torn:
            self._stream.send(
                {"functions": number}, json.dumps({"functions": [described], "secrets": secrets}).encode()
            )
        try:
            await added
        finally:
            del self._added[number]

    async def close(self, *, wait_s: float = 10.0) -> None:
        """Ends it: calls and containers with it. Waits until the server has said so."""
        self._client.remove(self)
        stream = self._stream
        if stream is None or not stream.live or self._client.is_torn:
            return
        self._closed = asyncio.get_running_loop().create_future()
        stream.end()
        try:
            async with asyncio.timeout(wait_s):
                await self._closed
        except TimeoutError:
            return

    def attach(self, session: Session) -> None:
        """See Lasting."""
        payload = json.dumps(self._described).encode()
        head = {**self._head, "pid": os.getpid(), **({"again": True} if self._ran else {})}
        self._stream = session.open("app", head, payload, on_frame=self._on_frame)

    def give_up(self, error: Error) -> None:
        """See Lasting."""
        self._fail(error)

    def _on_frame(self, frame: Frame) -> None:
        head = frame.head()
        if frame.kind is Kind.DATA:
            if "opened" in head:
                # After a lost connection the app was opened anew, with what had been added meanwhile.
                self._ran = True
                for waiting in (self._opened, *self._added.values()):
                    _settle(waiting)
            elif "added" in head:
                _settle(self._added.get(head["added"]))
            elif "bound" in head:
                # Of a class, with other parameters: a server that comes after this one is told of it too.
                self._described["functions"].append(head["bound"])
            elif "scaled" in head:
                self._note_scaling(head["scaled"], head["scaling"])
            else:
                self._watch(head, memoryview(frame.payload))
        elif frame.kind is Kind.FAIL:
            error = Error.from_wire(head)
            if not isinstance(error, ConnectionLost):
                self._fail(error)
            else:
                _settle(self._closed)
        elif frame.kind is Kind.END:
            self._client.remove(self)
            _settle(self._closed)
            why = str(head.get("stopped", ""))
            self._watch({"stopped": why}, memoryview(b""))
            self._fail(
                AppStopped(
                    f"the app was stopped before it was ready: {why or 'it was asked to end'}",
                    remedy="run it again; if it happens again, see `squall logs --agent` and `squall logs --supervisor`",
                )
            )

    def _note_scaling(self, function: str, scaling: Event) -> None:
        """A function's bounds were changed: a server that comes after this one is told so."""
        for described in self._described["functions"]:
            if described["name"] == function:
                described["scaling"] = scaling

    def _fail(self, error: Error) -> None:
        self._client.remove(self)
        for waiting in (self._opened, self._closed, *self._added.values()):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)


def _settle(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
