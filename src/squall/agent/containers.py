"""Containers of this node: started, adopted, stopped, and told of."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from squall import faults
from squall.agent.ahead import Ahead
from squall.agent.buckets import Buckets
from squall.agent.gpus import GpuRoom, GpusHeldBack
from squall.agent.launcher_link import LauncherLink, Message
from squall.agent.meter import SAMPLE_S, Meter, look
from squall.agent.network import Network
from squall.agent.output import Output
from squall.agent.pools import Pools, uid_base
from squall.agent.prepared import Images
from squall.agent.refusal import refusal
from squall.agent.relay import LocalContainer, Relay
from squall.agent.sandboxes import BuildSandboxes
from squall.agent.start_clock import StartClock
from squall.agent.template_record import TemplateRecord
from squall.agent.templates import Templates
from squall.agent.volumes import Volumes
from squall.context.fresh import fresh_id
from squall.model.container import ContainerEnd, WantedContainer
from squall.model.errors import ConnectionLost, ContainerStartError, Error, FrameError
from squall.model.function import Function
from squall.model.gpu import Gpus
from squall.model.ids import CONTAINER, ContainerId
from squall.model.jsonable import from_json, to_json
from squall.scheduling.node_diff import Start, Stop, plan_node
from squall.settings.options import Options
from squall.wire.rights import close_all
from squall.wire.socket_channel import SocketChannel

_log = logging.getLogger("squall.agent")
GONE_S = 5.0

_ASKING = faults.declare("start.asking", "a container has all that it needs, and its launcher was not asked")
_STARTED = faults.declare("start.started", "its launcher has started it, and nobody here knows of it")
_NOTED = faults.declare("start.noted", "the server was told of it, and nothing is passed on for it")
_LISTED = faults.declare("adopt.listed", "a launcher has said what it holds, and none of that is taken over")
_ATTACHED = faults.declare("adopt.attached", "a container has a new channel, and nobody here knows of it")
_END_HEARD = faults.declare("end.heard", "a launcher has said how a container ended, and keeps that")
_END_TAKEN = faults.declare(
    "end.taken", "the launcher has forgotten a container, and the server was not told"
)
_END_TOLD = faults.declare("end.told", "the server was told how a container ended")
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
    record: TemplateRecord
    network: Network
    buckets: Buckets
    volumes: Volumes


class Containers:
    """What runs here. tell: an event to the server; send_logs: records of output; both drop while there is none.

    lost: told that a launcher is gone, with all that it held; gone: of each container that is.
    """

    def __init__(self, means: Means, options: Options) -> None:
        self.present: dict[str, LocalContainer] = {}
        self.starting: dict[str, asyncio.Task[None]] = {}
        self.unreported: dict[str, Message] = {}
        self.tell: Tell = lambda _event: None
        self.send_logs: SendLogs = lambda _head, _texts: None
        self.gpus = GpuRoom()
        self.lost: Callable[[], None] = lambda: None
        self.gone: Callable[[str], None] = lambda _container: None
        self.meter = Meter(asyncio.get_running_loop().time)
        self._pools = means.pools
        self._images = means.images
        self._relay = means.relay
        self._builds = means.builds
        self._templates = means.templates
        self._network = means.network
        self._buckets = means.buckets
        self._volumes = means.volumes
        self._options = options
        self._wanted: frozenset[str] = frozenset()
        self._ended: set[str] = set()
        self._routes = 0
        self._giving: set[asyncio.Task[None]] = set()
        means.buckets.renew = self._renew_templates
        means.buckets.said = self._said_of_buckets
        means.pools.on_exit = self._exited
        means.pools.on_veth = self._ask_for_address
        means.pools.on_lost = self._launcher_lost
        means.relay.on_gone = self._channel_gone
        means.templates.resting = means.pools.resting
        means.templates.tell = lambda event: self.tell(event)
        means.templates.printed = self._printed_by_template
        self.ahead = Ahead(means.record, means.templates, options, self._make_template)

    def know(self, wants: Message) -> tuple[Function, ...]:
        """The functions of an app that is being opened, as `wants` to be prepared names them: known until it ends."""
        image = {"image": wants["image"], "client_python": wants["client_python"]}
        try:
            functions = tuple(from_json(Function, {**plain, **image}) for plain in wants.get("functions", ()))
        except ValueError as problem:
            _log.warning("functions that an app may call are not understood here: %s", problem)
            return ()
        self._wanted |= {function.id for function in functions}
        self.ahead.know(str(wants.get("app", "")), functions)
        return functions

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
        self.ahead.keep_only(self._wanted)
        self._buckets.keep_only(lambda: self.known)
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

    async def measure(self) -> None:
        """Looks at what containers take, and tells the server, for as long as the agent lives."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            roots = {name: (local.init_pid, local.pid) for name, local in self.present.items()}
            self.meter.note(await asyncio.to_thread(look, roots))
            if rows := self.meter.rows():
                self.tell({"t": "event", "event": "usage", "L": rows})

    def foresee(self, links: list[LauncherLink]) -> None:
        """These launchers are an earlier agent's: none is let go, whichever of its containers ends, before the server has spoken."""
        self._wanted |= {link.function for link in links if link.function} - {"build"}

    async def adopt(self, links: list[LauncherLink]) -> None:
        """Takes over the containers that an earlier agent left running."""
        alive: set[str] = set()
        all_known = True
        # Those whose function the server does not know any more go as it says what it wants.
        self.foresee(links)
        for link in links:
            try:
                listed = await link.listed()
            except Error:
                all_known = False
                continue
            faults.point(_LISTED)
            self._network.adopt(link.name, listed["addresses"])
            for row in listed["containers"]:
                self._network.adopt(link.name, row["addresses"])
                if row.get("exited"):
                    self._exited(link, row["exited"])
                    continue
                alive.add(row["container"])
                try:
                    message, fds = await link.attach(row["container"])
                except Error as refused:
                    _log.warning("container %s could not be taken over: %s", row["container"], refused)
                    continue
                faults.point(_ATTACHED)
                self._add(link, {**row, **message}, fds)
        self.gpus.keep_only(alive)
        present = {name: local.launcher for name, local in self.present.items()}
        await self._volumes.adopt(present, alive=alive, all_known=all_known)

    @property
    def known(self) -> frozenset[str]:
        """The functions of apps that are open, of containers, and of launchers, which may have sandboxes made ahead."""
        launchers = {link.function for link in self._pools.all if link.function} - {"build"}
        return self._wanted | launchers | {local.function for local in self.present.values()}

    def describe(self) -> list[Message]:
        """Every container, for the server."""
        return [local.describe() for local in self.present.values()]

    def functions(self) -> frozenset[str]:
        """The functions that are called here or may be, and those of all containers that have not ended."""
        alive = (local.function for local in self.present.values())
        return frozenset(
            (*self._wanted, *alive, *(link.function for link in self._pools.all if link.function))
        )

    def report_again(self) -> None:
        """A new server is there: tells it of ends that no server has heard of."""
        # Whoever tells strikes out what was told; the rest is told to the next server.
        for event in tuple(self.unreported.values()):
            self.tell(event)
        self._templates.report()

    def _never_began(self, container: str, _task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its own code: the end is told here then."""
        if self.starting.pop(container, None) is not None:
            self._report_end(container, ContainerEnd(cause="killed"))

    async def _start(self, wanted: WantedContainer) -> None:
        container = wanted.id
        clock = StartClock(container, lambda event: self.tell(event))
        try:
            link, message, fds = await self._have_started(wanted, clock)
        except asyncio.CancelledError:
            self.starting.pop(container, None)
            self._report_end(container, ContainerEnd(cause="killed"))
            return
        except GpusHeldBack as why:
            self.starting.pop(container, None)
            self._report_end(container, ContainerEnd(cause="unplaced", said=str(why)))
            return
        except (Error, ValueError, OSError) as problem:
            self.starting.pop(container, None)
            error = refusal(problem, kind=ContainerStartError)
            lost = isinstance(problem, ConnectionLost)
            _log.warning("container %s did not start: %s", container, problem)
            if lost:
                self._report_end(container, ContainerEnd(cause="signal", signal=9))
            else:
                self._ended.add(container)
                self._let_go(container)
                self.tell(
                    {"t": "event", "event": "refused", "container": container, "error": error.to_wire()}
                )
            return
        finally:
            clock.leave()
        self.starting.pop(container, None)
        self._add(link, message, fds)
        self.ahead.started(wanted.function.id, message["rung"])

    async def _have_started(
        self, wanted: WantedContainer, clock: StartClock
    ) -> tuple[LauncherLink, Message, tuple[int, ...]]:
        """The launcher that has started a container, what it says of it, and its descriptors."""
        container, function = wanted.id, wanted.function
        clock.enter("image")
        prepared = await self._images.wait_for(function)
        clock.enter("launcher")
        link = await self._pools.launcher(function.id, self.ahead.family_of(function))
        try:
            if wanted.gpus is not None:
                clock.enter("gpus")
                await self.gpus.take(container, wanted.gpus)
            clock.enter("network")
            spec = self._images.spec_for(wanted, prepared, uid_base=uid_base(link.uid_slot))
            if os.path.lexists(spec.scratch):
                # Its end was told to nobody. What it left is about to be removed: another container takes its place.
                raise ConnectionLost(
                    f"the launcher that was starting {container} was killed, and its agent too"
                )
            spec = await self._buckets.equip(function, spec)
            spec = await self._volumes.made_ready(container, function, spec)
            spec = await self._network.join(spec, blocked=function.block_network)
            spec = self.gpus.equip(container, spec, prepared.python.executable)
            clock.enter("template")
            path = await self._templates.before_start(link, function, spec)
            clock.enter("sandbox")
            # The launcher says itself how long each step of what follows took.
            waited_ms = {"waited_ms": dict(clock.waited_ms)}
            faults.point(_ASKING)
            message, fds = await link.start(container, spec.to_json(), path=path)
            faults.point(_STARTED)
        except asyncio.CancelledError:
            link.tell("kill", container=container)
            raise
        try:
            await self._volumes.mount(link, container, spec.level)
        except BaseException:
            link.tell("kill", container=container)
            close_all(fds)
            raise
        message |= {"why": self._templates.words(link, message["rung"])} | waited_ms
        self._network.started(container, message["address"])
        return link, message, fds

    async def _make_template(self, function: Function) -> None:
        """The template of a function, before a container of it is wanted."""
        prepared = await self._images.wait_for(function)
        link = await self._pools.launcher(function.id, self.ahead.family_of(function))
        nobody = WantedContainer(id=ContainerId(fresh_id(CONTAINER)), function=function)
        spec = self._images.spec_for(nobody, prepared, uid_base=uid_base(link.uid_slot))
        spec = await self._buckets.equip(function, spec)
        spec = await self._volumes.placed(function, spec)
        spec = await self._network.join(spec, blocked=function.block_network)
        # Its sandboxes are each given an address of their own.
        self._network.release(nobody.id)
        if function.id not in self._wanted:
            # Its app has ended meanwhile, perhaps before it had a launcher.
            self._release_if_empty(function.id)
        elif link in self._pools.all:
            await self._templates.make_ahead(link, function, spec)

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
            waited_ms=message.get("waited_ms", {}),
            gpus=self.gpus.describe(message["container"]),
        )
        self.present[local.id] = local
        self.meter.begin(local.id)
        self.tell({"t": "event", "event": "started", **local.describe()})
        faults.point(_NOTED)
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
        faults.point(_END_HEARD)
        end = replace(end, memory_byte_s=self.meter.end(container, end.memory_peak_bytes))
        link.tell("forget", container=container)
        faults.point(_END_TAKEN)
        if self._builds.ended(container, end):
            return
        local = self.present.pop(container, None)
        if local is not None:
            if local.output is not None:
                local.output.close()
            self._relay.remove(local)
        self._report_end(container, end)
        faults.point(_END_TOLD)
        self._tidy(link)

    def _launcher_lost(self, link: LauncherLink) -> None:
        """A launcher was killed, and its containers with it: nobody's fault."""
        self._templates.forget(link)
        self._network.lost(link.name)
        for local in [local for local in self.present.values() if local.launcher is link]:
            del self.present[local.id]
            if local.output is not None:
                local.output.close()
            self._relay.remove(local)
            taken = self.meter.end(local.id, None)
            self._report_end(local.id, ContainerEnd(cause="signal", signal=9, memory_byte_s=taken))
        self.lost()

    def _ask_for_address(self, link: LauncherLink, message: Message) -> None:
        """What a launcher makes ahead has an address as every container has."""
        name = str(message["sandbox"])
        if message["t"] == "veth_free":
            self._network.release(name)
            return

        async def give() -> None:
            try:
                veth = await self._network.give(name, link.name)
            except Error as problem:
                link.tell("veth", sandbox=name, why=str(problem))
                return
            if link in self._pools.all:
                link.tell("veth", sandbox=name, veth=asdict(veth))
            else:
                self._network.release(name)

        task = asyncio.get_running_loop().create_task(give())
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)

    def _printed_by_template(self, function: str, stream: str, text: str) -> None:
        """What code prints while it is loaded is printed once for all the containers that are forked from there."""
        data = text.encode()
        row = [stream, len(data), time.time()]
        self.send_logs({"t": "logs", "container": "template", "function": function, "L": [row]}, [data])

    def _said_of_buckets(self, functions: Collection[str], text: str) -> None:
        """What becomes of a bucket is told in the logs of those who use it."""
        for function in functions:
            self._printed_by_template(function, "e", f"squall: {text}\n")

    def _renew_templates(self, functions: Collection[str]) -> None:
        """What was made ahead for these has a mount in it that is dead."""
        for link in self._pools.all:
            if link.function in functions:
                self._templates.renew(link)

    def _report_end(self, container: str, end: ContainerEnd) -> None:
        self.gone(container)
        self._ended.add(container)
        self._let_go(container)
        event = {"t": "event", "event": "ended", "container": container, "end": to_json(end)}
        self.unreported[container] = event
        self.tell(event)

    def _let_go(self, container: str) -> None:
        """It has ended, or never began: what it had is others' again."""
        self.gpus.give_back(container)
        self._network.release(container)
        self._volumes.ended(container)

    def _tidy(self, link: LauncherLink) -> None:
        """A launcher whose function is not wanted any more goes with its last container."""
        function = link.function
        if function is None or function in self._wanted or function == "build":
            return
        self._release_if_empty(function)

    def _release_if_empty(self, function: str) -> None:
        if any(local.function == function for local in self.present.values()):
            return
        link = self._pools.release(function)
        if link is not None:
            self._templates.forget(link)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
