"""Containers of this node: started, adopted, stopped, and told of."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from squall.agent.gpus import GpuRoom, GpusHeldBack
from squall.agent.launcher_link import LauncherLink, Message
from squall.agent.output import Output
from squall.agent.pools import Pools, uid_base
from squall.agent.prepared import Images
from squall.agent.relay import LocalContainer, Relay
from squall.agent.sandboxes import BuildSandboxes
from squall.agent.templates import Templates
from squall.model.container import ContainerEnd, WantedContainer
from squall.model.errors import ConnectionLost, ContainerStartError, Error, FrameError
from squall.model.function import Function
from squall.model.gpu import Gpus
from squall.model.ids import ContainerId
from squall.model.jsonable import from_json, to_json
from squall.scheduling.node_diff import Start, Stop, plan_node
from squall.settings.options import Options
from squall.wire.socket_channel import SocketChannel

_log = logging.getLogger("squall.agent")
GONE_S = 5.0
Tell = Callable[[Message], None]
SendLogs = Callable[[Message, list[bytes]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What containers are started and reached with."""

    pools: Pools
    images: Images
    relay: Relay
    builds: BuildSandboxes
    templates: Templates


class Containers:
    """What runs here. tell: an event to the server; send_logs: records of output; both drop while there is none."""

    def __init__(self, means: Means, options: Options) -> None:
        self.present: dict[str, LocalContainer] = {}
        self.starting: dict[str, asyncio.Task[None]] = {}
        self.unreported: dict[str, Message] = {}
        self.tell: Tell = lambda _event: None
        self.send_logs: SendLogs = lambda _head, _texts: None
        self.gpus = GpuRoom()
        self._pools = means.pools
        self._images = means.images
        self._relay = means.relay
        self._builds = means.builds
        self._templates = means.templates
        self._options = options
        self._wanted: frozenset[str] = frozenset()
        self._ended: set[str] = set()
        self._routes = 0
        means.pools.on_exit = self._exited
        means.pools.on_lost = self._launcher_lost
        means.relay.on_gone = self._channel_gone
        means.templates.tell = lambda event: self.tell(event)
        means.templates.printed = self._printed_by_template

    def want(self, payload: bytes) -> None:
        """The server's whole wanted set: starts what is missing, stops what is too much."""
        described = json.loads(payload)
        functions = {name: from_json(Function, plain) for name, plain in described["functions"].items()}
        gpus = {name: from_json(Gpus, plain) for name, plain in described.get("gpus", {}).items()}
        wanted = tuple(
            WantedContainer(id=ContainerId(container), function=functions[function], gpus=gpus.get(container))
            for container, function in described["containers"]
        )
        keep = frozenset(described.get("keep", ()))
        present = frozenset(ContainerId(name) for name in (*self.present, *self.starting)) - keep
        for step in plan_node(wanted, present, frozenset(ContainerId(name) for name in self._ended)):
            match step:
                case Start(wanted=one):
                    task = asyncio.get_running_loop().create_task(self._start(one))
                    self.starting[one.id] = task
                    task.add_done_callback(partial(self._never_began, one.id))
                case Stop(container=container):
                    self.stop(container)
        for container in described.get("kill", ()):
            self.kill(container)
        before, self._wanted = self._wanted, frozenset((*functions, *described.get("known", ())))
        for gone in before - self._wanted:
            self._release_if_empty(gone)

    def stop(self, container: str) -> None:
        """Stops a container: signal, grace, kill."""
        task = self.starting.get(container)
        if task is not None:
            task.cancel()
            return
        local = self.present.get(container)
        if local is not None and not local.stopping:
            local.stopping = True
            local.launcher.tell("stop", container=container, grace_s=self._options.stop_grace_s)

    def kill(self, container: str) -> None:
        """Ends a container that did not give way."""
        local = self.present.get(container)
        if local is not None and not local.killed:
            local.stopping = local.killed = True
            local.launcher.tell("kill", container=container)

    async def adopt(self, links: list[LauncherLink]) -> None:
        """Takes over the containers that an earlier agent left running."""
        alive: set[str] = set()
        for link in links:
            try:
                rows = await link.containers()
            except Error:
                continue
            for row in rows:
                if row.get("exited"):
                    self._exited(link, row["exited"])
                    continue
                alive.add(row["container"])
                try:
                    message, fds = await link.attach(row["container"])
                except Error as refused:
                    _log.warning("container %s could not be taken over: %s", row["container"], refused)
                    continue
                self._add(link, {**row, **message}, fds)
        self.gpus.keep_only(alive)

    def describe(self) -> list[Message]:
        """Every container, for the server."""
        return [local.describe() for local in self.present.values()]

    def report_again(self) -> None:
        """A new server is there: tells it of ends that no server has heard of."""
        for event in self.unreported.values():
            self.tell(event)
        self.unreported.clear()
        self._templates.report()

    def _never_began(self, container: str, _task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its own code: the end is told here then."""
        if self.starting.pop(container, None) is not None:
            self._report_end(container, ContainerEnd(cause="killed"))

    async def _start(self, wanted: WantedContainer) -> None:
        container = wanted.id
        link: LauncherLink | None = None
        try:
            prepared = await self._images.wait_for(wanted.function)
            link = await self._pools.launcher(wanted.function.id)
            if wanted.gpus is not None:
                await self.gpus.take(container, wanted.gpus)
            spec = self._images.spec_for(wanted, prepared, uid_base=uid_base(link.uid_slot))
            spec = self.gpus.equip(container, spec, prepared.python.executable)
            await self._templates.before_start(link, wanted.function, spec)
            message, fds = await link.start(container, spec.to_json(), path=wanted.function.start_path)
            message["why"] = self._templates.words(link, message["rung"])
        except asyncio.CancelledError:
            if link is not None:
                link.tell("kill", container=container)
            self.starting.pop(container, None)
            self._report_end(container, ContainerEnd(cause="killed"))
            return
        except GpusHeldBack as why:
            self.starting.pop(container, None)
            self._report_end(container, ContainerEnd(cause="unplaced", said=str(why)))
            return
        except (Error, ValueError, OSError) as problem:
            self.starting.pop(container, None)
            error = (
                problem
                if isinstance(problem, Error)
                else ContainerStartError(f"{type(problem).__name__}: {problem}")
            )
            lost = isinstance(problem, ConnectionLost)
            _log.warning("container %s did not start: %s", container, problem)
            if lost:
                self._report_end(container, ContainerEnd(cause="signal", signal=9))
            else:
                self._ended.add(container)
                self.gpus.give_back(container)
                self.tell(
                    {"t": "event", "event": "refused", "container": container, "error": error.to_wire()}
                )
            return
        self.starting.pop(container, None)
        self._add(link, message, fds)

    def _add(self, link: LauncherLink, message: Message, fds: tuple[int, ...]) -> None:
        channel, log, out, err = fds
        self._routes += 1
        local = LocalContainer(
            id=message["container"],
            function=link.function or "",
            launcher=link,
            route=self._routes,
            pid=message["pid"],
            init_pid=message.get("init_pid", 0),
            rung=message.get("rung", ""),
            why=message.get("why", ""),
            level=message.get("level", ""),
            phases_ms=message.get("phases_ms", {}),
            gpus=self.gpus.describe(message["container"]),
        )
        self.present[local.id] = local
        self.tell({"t": "event", "event": "started", **local.describe()})
        local.output = Output(
            (log, out, err),
            lambda rows, texts: self.send_logs(
                {"t": "logs", "container": local.id, "function": local.function, "L": rows}, texts
            ),
            rate=self._options.log_rate_bytes,
        )
        self._relay.add(local, SocketChannel(socket.socket(fileno=channel)))

    def _channel_gone(self, local: LocalContainer, error: Exception | None) -> None:
        """Without its channel a container is of no use: one that ends by itself gets the time to say how."""
        if isinstance(error, FrameError):
            _log.warning("container %s broke the protocol, and is ended: %s", local.id, error)
        delay_s = 0.0 if isinstance(error, FrameError) else GONE_S
        asyncio.get_running_loop().call_later(delay_s, self._kill_if_here, local)

    def _kill_if_here(self, local: LocalContainer) -> None:
        if self.present.get(local.id) is local and local.channel is None:
            local.launcher.tell("kill", container=local.id)

    def _exited(self, link: LauncherLink, message: Message) -> None:
        container = message["container"]
        fields: dict[str, Any] = {
            name: message[name]
            for name in ("cause", "code", "signal", "memory_peak_bytes", "memory_limit_bytes", "cpu_s")
            if message.get(name) is not None
        }
        end = from_json(ContainerEnd, fields)
        link.tell("forget", container=container)
        if self._builds.ended(container, end):
            return
        local = self.present.pop(container, None)
        if local is not None:
            if local.output is not None:
                local.output.close()
            self._relay.remove(local)
        self._report_end(container, end)
        self._tidy(link)

    def _launcher_lost(self, link: LauncherLink) -> None:
        """A launcher was killed, and its containers with it: nobody's fault."""
        self._templates.forget(link)
        for local in [local for local in self.present.values() if local.launcher is link]:
            del self.present[local.id]
            if local.output is not None:
                local.output.close()
            self._relay.remove(local)
            self._report_end(local.id, ContainerEnd(cause="signal", signal=9))

    def _printed_by_template(self, function: str, stream: str, text: str) -> None:
        """What code prints while it is loaded is printed once for all the containers that are forked from there."""
        data = text.encode()
        row = [stream, len(data), time.time()]
        self.send_logs({"t": "logs", "container": "template", "function": function, "L": [row]}, [data])

    def _report_end(self, container: str, end: ContainerEnd) -> None:
        self.gpus.give_back(container)
        self._ended.add(container)
        event = {"t": "event", "event": "ended", "container": container, "end": to_json(end)}
        self.unreported[container] = event
        self.tell(event)

    def _tidy(self, link: LauncherLink) -> None:
        """A launcher whose function is not wanted any more goes with its last container."""
        function = link.function
        if function is None or function in self._wanted or function == "build":
            return
        self._release_if_empty(function)

    def _release_if_empty(self, function: str) -> None:
        if not any(local.function == function for local in self.present.values()):
            self._pools.release(function)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
