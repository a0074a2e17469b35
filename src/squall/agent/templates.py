"""Templates of this node's functions: asked for when they are worth it, waited for, and told of."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from squall.agent.launcher_link import PACKET, LauncherLink, Message
from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.model.errors import Error
from squall.model.function import Function
from squall.model.jsonable import to_json
from squall.runtime.spec import SandboxSpec

_log = logging.getLogger("squall.agent")
ALONE_S = 1.0
"""How long the first container of a function is left alone: it loads the same code, and a short run needs no other."""
_IDENTITY = frozenset({"SQUALL_CONTAINER"})
_LARGEST = PACKET * 3 // 4


@dataclass(slots=True)
class _Asked:
    """One launcher's template. state: as its launcher says, "" until it has been asked for."""

    function: Function
    spec: SandboxSpec
    state: str = ""
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Templates:
    """What each launcher was asked for. tell: how a template stands, and what its code prints, to the server."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._asked: dict[str, _Asked] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.tell: Callable[[Message], None] = lambda _event: None
        self.printed: Callable[[str, Message], None] = lambda _function, _message: None

    async def before_start(self, link: LauncherLink, function: Function, spec: SandboxSpec) -> None:
        """What a start waits for: a template that is being made. The first container of a function waits for none."""
        if spec.level != "sandbox" or spec.interpreter is not None or spec.argv is not None:
            return
        asked = self._asked.get(link.name)
        if asked is None:
            asked = self._asked[link.name] = _Asked(function, spec)
            link.on_template = lambda message: self._take(asked, message)
            self._later(ALONE_S, link, asked)
            return
        if asked.state == "":
            await self._ask(link, asked)
        elif asked.state == "gone":
            asked.settled.clear()
            await self._ask(link, asked)
        await asked.settled.wait()

    def forget(self, link: LauncherLink) -> None:
        """The launcher is gone, and its template with it."""
        asked = self._asked.pop(link.name, None)
        if asked is not None:
            asked.settled.set()

    def _take(self, asked: _Asked, message: Message) -> None:
        """What a launcher says of its template."""
        function = asked.function.id
        if message["t"] == "printed":
            self.printed(function, message)
            return
        asked.state = message["state"]
        if asked.state != "building":
            asked.settled.set()
            told = {
                key: message[key]
                for key in ("reason", "why", "hint", "notes", "seconds", "pid")
                if key in message
            }
            self.tell({"t": "event", "event": "template", "function": function, "state": asked.state, **told})
            if asked.state == "refused":
                _log.info("%s starts without a template: %s", function, message.get("why"))

    async def _ask(self, link: LauncherLink, asked: _Asked) -> None:
        if asked.state in {"building", "ready", "refused"}:
            return
        asked.state = "building"
        try:
            load = await self._load_of(asked.function)
            link.tell("template", spec=self._spec_of(asked.spec).to_json(), load=load)
        except (Error, OSError, ValueError) as problem:
            self._take(asked, {"t": "template", "state": "refused", "reason": "code", "why": str(problem)})

    async def _load_of(self, function: Function) -> dict[str, Any]:
        load: dict[str, Any] = {"function": to_json(function)}
        if function.code.pickled is not None:
            pickled = await self._blobs.get(Digest(function.code.pickled))
            if len(pickled) * 4 // 3 > _LARGEST:
                raise ValueError("its code travels by value, and is too large for a template")
            load["pickled"] = base64.b64encode(pickled).decode()
        return load

    def _spec_of(self, spec: SandboxSpec) -> SandboxSpec:
        """The same without what makes it one container's."""
        name = f"t-{secrets.token_hex(6)}"
        env = {key: value for key, value in spec.env.items() if key not in _IDENTITY}
        return replace(spec, id=name, scratch=str(PurePath(spec.scratch).with_name(name)), env=env)

    def _later(self, delay_s: float, link: LauncherLink, asked: _Asked) -> None:
        async def ask() -> None:
            await asyncio.sleep(delay_s)
            if self._asked.get(link.name) is asked and asked.state == "":
                await self._ask(link, asked)

        task = asyncio.get_running_loop().create_task(ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
