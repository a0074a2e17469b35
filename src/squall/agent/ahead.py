"""Ahead: templates of functions that were busy before, made as their app is opened and nobody has called yet."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from squall.agent.launcher_link import Message
from squall.agent.template_record import TemplateRecord, family_of, version_of
from squall.agent.templates import Templates
from squall.model.errors import Error
from squall.model.function import Function
from squall.model.ids import FunctionId
from squall.scheduling.start_words import TEMPLATE_RUNGS
from squall.scheduling.template_order import Opened, Remembered, Room, templates_to_make
from squall.settings.options import Options

_log = logging.getLogger("squall.agent")
QUIET_S = 0.25
"""A run that calls as soon as it has opened its app loads the code then, as without a record: nothing is made beside it."""
SAVE_S = 2.0
"""How long a change of the record may wait for others before it is written."""


@dataclass(slots=True)
class _Known:
    """A function whose app is open. named: as it is remembered; family: what its versions have in common; ready: its image lies here; tried: its template was begun."""

    function: Function
    named: Remembered
    family: str
    ready: bool = False
    tried: bool = False


class Ahead:
    """What is remembered of templates, and those that are made for it. make: has one made, and waits until that is settled."""

    def __init__(
        self,
        record: TemplateRecord,
        templates: Templates,
        options: Options,
        make: Callable[[Function], Coroutine[Any, Any, None]],
    ) -> None:
        self.record = record
        self.templates = templates
        self._options = options
        self._make = make
        self.quiet_s = QUIET_S
        self._known: dict[str, _Known] = {}
        self._work: asyncio.Task[None] | None = None
        self._saving: asyncio.TimerHandle | None = None
        templates.settled = self._settled

    def know(self, app: str, functions: Iterable[Function]) -> None:
        """These are of an app of this name that is open now."""
        for function in functions:
            if function.id not in self._known:
                named = Remembered(app=app, function=function.name, version=version_of(function))
                self._known[function.id] = _Known(function, named, family_of(app, function))

    def family_of(self, function: Function) -> str:
        """What its versions have in common on this node; "" where its app is not known."""
        known = self._known.get(function.id)
        return "" if known is None else known.family

    def ready(self, functions: Iterable[Function]) -> None:
        """The image of these lies here: templates are made of it, but of those that are called at once."""
        asyncio.get_running_loop().call_later(self.quiet_s, self._may_be_made, tuple(functions))

    def _may_be_made(self, functions: tuple[Function, ...]) -> None:
        for function in functions:
            known = self._known.get(function.id)
            if known is not None:
                known.ready = True
        self._go_on()

    def keep_only(self, functions: frozenset[str]) -> None:
        """The apps of all others have ended."""
        over = set(self._known) - functions
        for gone in over:
            del self._known[gone]
        if over:
            self._go_on()

    def started(self, function: str, rung: str) -> None:
        """A container was started by this rung."""
        known = self._known.get(function)
        if known is not None and rung in TEMPLATE_RUNGS:
            self.record.started(known.named, time.time())
            self._save_soon()
        if known is not None and known.tried:
            # It is used now: one more may be made.
            self._go_on()

    def close(self) -> None:
        """Nothing more is made, and what is remembered lies on the disk."""
        if self._work is not None:
            self._work.cancel()
        if self._saving is not None:
            self._saving.cancel()
        self.record.save()

    def _settled(self, function: Function, state: str, told: Message, size: int) -> None:
        """There is a template of a function, or there is none."""
        known = self._known.get(function.id)
        self._go_on()
        if known is None or state not in {"ready", "refused"}:
            return
        if state == "ready":
            self.record.ready(known.named, told, size, time.time())
        else:
            self.record.refused(known.named, time.time())
        self._save_soon()

    def _go_on(self) -> None:
        if (self._work is None or self._work.done()) and self._next() is not None:
            self._work = asyncio.get_running_loop().create_task(self._make_all())

    async def _make_all(self) -> None:
        """One at a time, so that it keeps one core busy at most."""
        while (name := self._next()) is not None:
            known = self._known[name]
            known.tried = True
            try:
                async with asyncio.timeout(known.function.startup_timeout_s):
                    await self._make(known.function)
            except (Error, OSError, ValueError) as problem:
                # TimeoutError is an OSError: it may be ready later, but nobody else waits for it.
                _log.warning("no template of %s was made ahead: %s", name, str(problem) or "it takes long")

    def _next(self) -> FunctionId | None:
        """The one that is made now, if any."""
        count = int(self._options.templates_ahead) - self.templates.unused
        opened = tuple(
            Opened(
                id=known.function.id,
                app=known.named.app,
                function=known.named.function,
                version=known.named.version,
            )
            for known in self._known.values()
            if known.ready and not known.tried and _may_have_one(known.function)
            if not self.templates.asked_for(known.function.id)
        )
        if count < 1 or not opened or self.templates.leave_alone:
            return None
        room = Room(count=count, bytes=int(self._options.templates_bytes) - self.templates.taken_bytes)
        return next(iter(templates_to_make(opened, self.record.rows, room=room, now_s=time.time())), None)

    def _save_soon(self) -> None:
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(SAVE_S, self._save)

    def _save(self) -> None:
        self._saving = None
        self.record.save()


def _may_have_one(function: Function) -> bool:
    """A container with devices gets an interpreter that is new, and one whose rung is demanded may take no template."""
    return not function.gpu and function.start_path in {"", *TEMPLATE_RUNGS}
