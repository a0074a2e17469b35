"""Pools: the launchers of this node, one a function, and a spare that is kept parked."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from squall import faults
from squall.agent.launcher_link import LauncherLink, Message
from squall.agent.refusal import OUT_OF_FILES
from squall.agent.resting import Resting
from squall.model.errors import ContainerStartError
from squall.runtime.spawn import spawn_launcher
from squall.settings.paths import StatePaths
from squall.wire.address import address_of, peer_of

_log = logging.getLogger("squall.agent")
DIAL_S = 10.0
REAP_S = 0.5
UID_FIRST = 2_000_000
UID_STEP = 65_536
UID_SLOTS = 30_000
BUILD_SLOT = 0

_SPAWNED = faults.declare("launcher.spawned", "a launcher has been started, and nobody has reached it")
_NAMING = faults.declare("launcher.naming", "it is written down what a launcher is for, under another name")
_NAMED = faults.declare("launcher.named", "it is written down what a launcher is for")


class Pools:
    """Launchers by function. A parked one becomes a function's when its first container is wanted, unless one rests for it."""

    def __init__(self, paths: StatePaths, *, spares: int) -> None:
        self._paths = paths
        self._spares = spares
        self._by_function: dict[str, LauncherLink] = {}
        self._parked: list[LauncherLink] = []
        self.resting = Resting()
        self._silent: list[LauncherLink] = []
        self._parking: set[asyncio.Task[None]] = set()
        self._spawning = 0
        self._quitting = False
        self._lock = asyncio.Lock()
        self.on_exit: Callable[[LauncherLink, Message], None] = lambda _link, _message: None
        self.on_veth: Callable[[LauncherLink, Message], None] = lambda _link, _message: None
        self.on_lost: Callable[[LauncherLink], None] = lambda _link: None

    @property
    def all(self) -> list[LauncherLink]:
        """Every launcher that is connected."""
        return [*self._by_function.values(), *self._parked, *self.resting, *self._silent]

    @property
    def empty(self) -> bool:
        """Whether there is no launcher, nor one that is being started."""
        return not self.all and not self._spawning and not self._parking

    async def adopt(self) -> list[LauncherLink]:
        """Connects to the launchers that an earlier agent left; what does not answer is swept away."""
        found: list[LauncherLink] = []
        for path in sorted(self._paths.launchers.glob("*.sock")):
            try:
                link = self._dial(path)
            except OSError:
                with suppress(OSError):
                    path.unlink()
                with suppress(OSError):
                    path.with_suffix(".json").unlink()
                continue
            try:
                about = json.loads(path.with_suffix(".json").read_text())
            except (OSError, ValueError):
                about = {}
            link.function = about.get("function")
            link.uid_slot = about.get("uid_slot")
            link.family = str(about.get("family") or "")
            link.packages_pid = int(about.get("packages") or 0)
            if link.function is None and link.packages_pid:
                self.resting.add(link, asyncio.get_running_loop().time())
            elif link.function is None:
                self._parked.append(link)
            else:
                self._by_function[link.function] = link
                found.append(link)
        return found

    def park(self) -> None:
        """Fills up the spares, beside everything else."""
        if self._quitting:
            return
        missing = self._spares - len(self._parked) - len(self._parking)
        for _ in range(missing):
            task = asyncio.get_running_loop().create_task(self._park_one())
            self._parking.add(task)
            task.add_done_callback(self._parking.discard)

    async def launcher(self, function: str, family: str = "") -> LauncherLink:
        """The launcher of a function; if it has none yet, the one that rests for its family, or one of the spares."""
        async with self._lock:
            known = self._by_function.get(function)
            if known is not None and not known.silent:
                return known
            if known is not None:
                # Its containers are its own still; nothing more is asked of it.
                self._silent.append(self._by_function.pop(function))
            link = self.resting.take(family)
            if link is None:
                if not self._parked and self._parking:
                    await asyncio.wait(set(self._parking))
                link = self._parked.pop() if self._parked else await self._spawn()
                link.uid_slot = self._free_slot()
            else:
                link.rested = True
            link.function, link.family = function, family
            self._by_function[function] = link
            self._note(link)
        self.park()
        return link

    def release(self, function: str) -> LauncherLink | None:
        """A function has no container here and wants none: its launcher goes, or rests where its packages stay: that one, then."""
        link = self._by_function.pop(function, None)
        if link is None:
            return None
        if not (link.packages_pid and link.family):
            link.tell("quit")
            return None
        link.function = None
        link.tell("rest")
        self.resting.add(link, asyncio.get_running_loop().time())
        self._note(link)
        return link

    def quit_all(self) -> None:
        """Every launcher ends, and its containers with it; one that is being started ends once it is there."""
        self._quitting = True
        for link in self.all:
            link.tell("quit")

    def lost(self, link: LauncherLink) -> None:
        """A launcher is gone."""
        if link in self._parked:
            self._parked.remove(link)
        self.resting.forget(link)
        if link in self._silent:
            self._silent.remove(link)
        if link.function is not None and self._by_function.get(link.function) is link:
            del self._by_function[link.function]
        path = self._paths.launcher_socket(link.name)
        for gone in (path, path.with_suffix(".json")):
            with suppress(OSError):
                gone.unlink()
        self.on_lost(link)
        # One that this agent started is its child, and is there to be reaped once it has ended.
        asyncio.get_running_loop().call_later(REAP_S, _reap, link.pid)

    async def _park_one(self) -> None:
        if self._quitting:
            return
        try:
            self._parked.append(await self._spawn())
        except (OSError, ContainerStartError):
            _log.exception("no launcher could be parked")

    async def _spawn(self) -> LauncherLink:
        self._spawning += 1
        try:
            link = await self._start()
        finally:
            self._spawning -= 1
        if self._quitting:
            link.tell("quit")
        return link

    async def _start(self) -> LauncherLink:
        """A launcher that is new, once it can be reached."""
        name = secrets.token_hex(6)
        path = self._paths.launcher_socket(name)
        await asyncio.to_thread(
            spawn_launcher,
            socket=str(path),
            state=str(self._paths.state),
            log=str(self._paths.log("launchers")),
        )
        faults.point(_SPAWNED)
        loop = asyncio.get_running_loop()
        until = loop.time() + DIAL_S
        while True:
            try:
                return self._dial(path)
            except OSError as problem:
                if loop.time() > until:
                    if problem.errno in OUT_OF_FILES:
                        raise
                    raise ContainerStartError(f"no launcher could be started: {problem}") from problem
                await asyncio.sleep(0.005)

    def _dial(self, path: Path) -> LauncherLink:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with address_of(path) as address:
                sock.connect(address)
            peer = peer_of(sock)
        except OSError:
            sock.close()
            raise
        link = LauncherLink(sock, path.stem, peer.pid)
        link.on_exit = lambda message: self.on_exit(link, message)
        link.on_veth = lambda message: self.on_veth(link, message)
        link.on_lost = lambda: self.lost(link)
        return link

    def _free_slot(self) -> int:
        taken = {link.uid_slot for link in self.all}
        return next(slot for slot in range(1, UID_SLOTS) if slot not in taken)

    def _note(self, link: LauncherLink) -> None:
        """Leaves a word for the agent after this one: which function this launcher is for."""
        path = self._paths.launcher_socket(link.name).with_suffix(".json")
        fresh = path.with_suffix(".new")
        rests = {"family": link.family, "packages": link.packages_pid} if link in self.resting else {}
        fresh.write_text(json.dumps({"function": link.function, "uid_slot": link.uid_slot, **rests}))
        faults.point(_NAMING)
        os.replace(fresh, path)
        faults.point(_NAMED)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def uid_base(slot: int | None) -> int | None:
    """The first host id of a slot's containers; None where the agent is no root and has no ids to give."""
    return None if slot is None or os.geteuid() != 0 else UID_FIRST + slot * UID_STEP
