"""Templates of this node's functions: asked for when they are worth it, waited for, told of, and let go."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from squall.agent.launcher_link import LauncherLink, Message
from squall.agent.memory import private_bytes
from squall.agent.resting import Resting
from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.model.errors import Error
from squall.model.function import Function
from squall.model.jsonable import to_json
from squall.runtime.spec import SandboxSpec
from squall.scheduling.start_words import TEMPLATE_RUNGS
from squall.scheduling.template_sweep import TemplateView, templates_to_drop
from squall.settings.options import Options
from squall.wire.rights import close_all
from squall.wire.sealed import seal

_log = logging.getLogger("squall.agent")
ALONE_S = 1.0
"""How long the first containers of a function are left alone: they load the same code, and a short run needs no others."""
_LEVELS = frozenset({"sandbox", "sandbox-strict"})
_IDENTITY = frozenset({"SQUALL_CONTAINER"})
# Refusals of which the owner hears by the way that is taken then, or that are none of the owner's doing.
_TOLD_OTHERWISE = frozenset({"import", "ended", "code"})


@dataclass(slots=True)
class _Asked:
    """One launcher's template. state: as its launcher says, "" until it has been asked for. ahead: of any container. derives: from
    packages of an earlier version.
    """

    function: Function
    spec: SandboxSpec
    link: LauncherLink
    used_s: float
    begun: int = 0
    ahead: bool = False
    derives: bool = False
    state: str = ""
    pid: int = 0
    why: Message = field(default_factory=dict)
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Templates:
    """What each launcher was asked for.

    tell: an event to the server; printed: what code prints while it is loaded, "o" or "e", for its function's log;
    settled: of a function, whether there is a template (its state), what its launcher said, and the bytes that it takes.
    """

    def __init__(self, blobs: BlobStore, options: Options, *, cores: int) -> None:
        self._cores = cores
        self._blobs = blobs
        self._options = options
        self._asked: dict[str, _Asked] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping = False
        self.resting = Resting()
        self.tell: Callable[[Message], None] = lambda _event: None
        self.printed: Callable[[str, str, str], None] = lambda _function, _stream, _text: None
        self.settled: Callable[[Function, str, Message, int], None] = lambda _function, _state, _told, _size: (
            None
        )

    async def before_start(self, link: LauncherLink, function: Function, spec: SandboxSpec) -> str:
        """What a start waits for, a template that is being made; then the only rung that it may take, "" for any.

        The first containers of a function, one for each core, wait for none: loading the code keeps the cores busy, and
        a template that does the same would be ready no sooner. One that is made ahead keeps one of the cores busy itself. Where the
        packages of an earlier version stay, they all wait: that is a matter of milliseconds.
        """
        if not _can_be_forked(spec):
            return function.start_path
        asked = self._asked.get(link.name)
        if asked is not None and asked.function.secrets != function.secrets:
            self._renew(asked, function)
        if asked is None:
            asked = self._note(link, function, spec)
            self._later(ALONE_S, lambda: self._ask_if_new(asked))
        asked.used_s = asyncio.get_running_loop().time()
        asked.begun += 1
        being_made = asked.ahead and asked.state == "building"
        alone = asked.begun <= self._cores - being_made and not function.start_path and not asked.derives
        if alone and being_made:
            return "parked"
        if not (alone and asked.state == "") and function.start_path in {"", *TEMPLATE_RUNGS}:
            await self._ask_if_new(asked)
            await asked.settled.wait()
        return function.start_path

    async def make_ahead(self, link: LauncherLink, function: Function, spec: SandboxSpec) -> None:
        """Has a template made before any container of its function is wanted; until it is known whether there is one."""
        if _can_be_forked(spec) and link.name not in self._asked:
            asked = self._note(link, function, spec)
            asked.ahead = True
            await self._ask_if_new(asked)
            await asked.settled.wait()

    def state_of(self, link: LauncherLink) -> str:
        """How the template of a launcher stands: "building", "ready", "refused", "gone" or "resting"; "" where there is none."""
        asked = self._asked.get(link.name)
        if link in self.resting:
            return "resting"
        return "" if asked is None else asked.state

    def asked_for(self, function: str) -> bool:
        """Whether a template of this function has been asked for, or will be, whatever has come of it."""
        return any(asked.function.id == function for asked in self._asked.values())

    @property
    def leave_alone(self) -> bool:
        """Whether the first containers of a function load its code just now, and no template yet."""
        return any(asked.state == "" for asked in self._asked.values())

    @property
    def unused(self) -> int:
        """How many were made ahead, or are being made, that no container has been started from."""
        return sum(
            asked.ahead and not asked.begun and asked.state in {"building", "ready"}
            for asked in self._asked.values()
        )

    @property
    def taken_bytes(self) -> int:
        """What those that are ready have in memory, and packages that stay, each alone."""
        ready = sum(_taken(asked) for asked in self._asked.values() if asked.state == "ready")
        return ready + self.resting.taken_bytes

    def words(self, link: LauncherLink, rung: str) -> str:
        """Why a container that was started just now got this rung, for people."""
        asked = self._asked.get(link.name)
        match rung:
            case "spare":
                return "it was forked from the template before it was asked for"
            case "pooled":
                return "forked from the template, into a sandbox that was made ahead"
            case "on_demand":
                return "forked from the template; every sandbox that was made ahead was taken"
            case "parked" if asked is not None and asked.state in {"refused", "gone"}:
                return f"without a template: {asked.why.get('why', 'it ended')}"
            case "parked" if asked is not None and asked.ahead:
                return "a warm interpreter; its template was still being made"
            case "parked":
                return "a warm interpreter; the template comes after the first containers"
            case _:
                return "a new interpreter: the launcher's own is another Python, or may not be shared"

    def forget(self, link: LauncherLink) -> None:
        """The launcher is gone, and its template with it."""
        asked = self._asked.pop(link.name, None)
        if asked is not None:
            asked.settled.set()
            link.on_template = lambda _message: None

    def renew(self, link: LauncherLink) -> None:
        """What the launcher has made ahead is of no use any more: the next container that needs a template has it made anew."""
        asked = self._asked.get(link.name)
        if asked is not None and asked.state == "ready":
            link.tell("drop_template")
            self._take(asked, {"t": "template", "state": "gone", "why": "what it has mounted was gone"})

    def report(self) -> None:
        """A new server is there: tell it how each stands."""
        for asked in self._asked.values():
            if asked.state not in {"", "building"}:
                self._tell_of(asked)

    def _take(self, asked: _Asked, message: Message) -> None:
        """What a launcher says of its template."""
        function = asked.function
        if message["t"] == "printed":
            self.printed(function.id, "o" if message["stream"] == 1 else "e", message["text"])
            return
        asked.state, asked.why, asked.pid = message["state"], message, int(message.get("pid") or 0)
        asked.link.packages_pid = int(message.get("packages", {}).get("pid", 0))
        if asked.state == "building":
            return
        asked.settled.set()
        self.settled(function, asked.state, message, _taken(asked))
        self._tell_of(asked)
        if asked.state == "ready" and not self._sweeping:
            self._sweeping = True
            self._later(self._options.template_sweep_s, self._sweep)
        if asked.state == "refused":
            _log.info("%s starts without a template: %s", function.id, message.get("why"))
            if message.get("reason") not in _TOLD_OTHERWISE:
                hint = f"; {message['hint']}" if message.get("hint") else ""
                text = f"squall: {function.name} starts without a template: {message['why']}{hint}\n"
                self.printed(function.id, "e", text)

    def _renew(self, asked: _Asked, function: Function) -> None:
        """Its secrets have other variables than when its template looked whether the code reads one: it looks again."""
        asked.function = function
        if asked.state in {"ready", "refused"}:
            asked.link.tell("drop_template")
            self._take(
                asked,
                {"t": "template", "state": "gone", "why": "the function's secrets have other variables"},
            )

    def _note(self, link: LauncherLink, function: Function, spec: SandboxSpec) -> _Asked:
        asked = _Asked(function, spec, link, asyncio.get_running_loop().time(), derives=link.rested)
        link.rested = False
        self._asked[link.name] = asked
        link.on_template = lambda message: self._take(asked, message)
        return asked

    def _tell_of(self, asked: _Asked) -> None:
        told: Message = {
            key: asked.why[key] for key in ("reason", "why", "hint", "notes", "seconds") if key in asked.why
        }
        head: Message = {"t": "event", "event": "template", "function": asked.function.id}
        self.tell(head | {"state": asked.state, "pid": asked.pid} | told)

    async def _ask_if_new(self, asked: _Asked) -> None:
        if asked.state not in {"", "gone"} or self._asked.get(asked.link.name) is not asked:
            return
        asked.state = "building"
        asked.settled.clear()
        try:
            await self._declare(asked)
        except (Error, OSError, ValueError) as problem:
            self._take(asked, {"t": "template", "state": "refused", "reason": "code", "why": str(problem)})

    async def _declare(self, asked: _Asked) -> None:
        """Tells the launcher; code that travels by value goes along as a file, of whatever size."""
        code, spec = asked.function.code, asked.spec
        fds = () if code.pickled is None else (seal([await self._blobs.get(Digest(code.pickled))]),)
        try:
            load = {"function": to_json(asked.function), "heavy_s": self._options.packages_stay_s}
            # The source is the uppermost layer, where there is one.
            source = spec.lowers[0] if code.source is not None and asked.link.family else None
            asked.link.tell("template", fds, spec=_spec_of(spec).to_json(), load=load, source=source)
        finally:
            close_all(fds)

    async def _sweep(self) -> None:
        """Lets go of what has not been used for long, or takes too much; looks again while there is any."""
        ready: dict[str, _Asked] = {
            asked.function.id: asked for asked in self._asked.values() if asked.state == "ready"
        }
        now_s = asyncio.get_running_loop().time()
        resting = self.resting.views(now_s)
        views = [
            TemplateView(name=name, idle_s=now_s - asked.used_s, bytes=_taken(asked))
            for name, asked in ready.items()
        ]
        for name in templates_to_drop(
            (*views, *(view for _link, view in resting.values())),
            idle_s=self._options.template_idle_s,
            most_bytes=self._options.templates_bytes,
        ):
            if name in resting:
                resting[name][0].tell("quit")
                continue
            ready[name].link.tell("drop_template")
            self._take(ready[name], {"t": "template", "state": "gone", "why": "it was not used for long"})
        self._sweeping = bool(resting) or any(asked.state == "ready" for asked in self._asked.values())
        if self._sweeping:
            self._later(self._options.template_sweep_s, self._sweep)

    def _later(self, delay_s: float, do: Callable[[], Any]) -> None:
        async def wait_and_do() -> None:
            await asyncio.sleep(delay_s)
            await do()

        task = asyncio.get_running_loop().create_task(wait_and_do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _can_be_forked(spec: SandboxSpec) -> bool:
    return spec.level in _LEVELS and spec.interpreter is None and spec.argv is None


def _spec_of(spec: SandboxSpec) -> SandboxSpec:
    """The same without what makes it one container's."""
    name = f"t-{secrets.token_hex(6)}"
    env = {key: value for key, value in spec.env.items() if key not in _IDENTITY}
    return replace(spec, id=name, scratch=str(PurePath(spec.scratch).with_name(name)), env=env, veth=None)


def _taken(asked: _Asked) -> int:
    """What a template and its packages have in memory, each alone."""
    return private_bytes(asked.pid) + private_bytes(asked.link.packages_pid)
