"""The agent's life: probe the host, take over what runs, serve one server after another."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import platform
import random
import secrets
import signal
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from squall import faults
from squall.agent.apart import Apart
from squall.agent.collecting import NodeCollecting
from squall.agent.containers import Containers, Means, cores
from squall.agent.dialing import Dialing
from squall.agent.elsewhere import Elsewhere
from squall.agent.evicting import Evicting, Needed
from squall.agent.far_blobs import ServerBlobs
from squall.agent.gpus import GpuRoom
from squall.agent.heartbeat import beat, patience_of
from squall.agent.image_service import ImageService
from squall.agent.image_shells import ImageShells
from squall.agent.levels import Levels
from squall.agent.network import Network
from squall.agent.pools import Pools
from squall.agent.prepared import Images
from squall.agent.refusal import refusal
from squall.agent.relay import Relay
from squall.agent.sandboxes import BuildSandboxes
from squall.agent.template_record import TemplateRecord
from squall.agent.templates import Templates
from squall.agent.tidying import Tidying
from squall.agent.volumes import open_volumes
from squall.blobs.checkout import Checkouts
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.read_through import FarBlobs, ReadThroughBlobs
from squall.context.fresh import fresh_id
from squall.images.rooted.images import Stores
from squall.images.rooted.kept import Kept
from squall.model.errors import ChannelClosed, ConnectionLost, Error, NotFoundError
from squall.model.function import Function
from squall.model.ids import NODE, NodeId
from squall.model.jsonable import to_json
from squall.model.node import Node
from squall.model.resources import Resources
from squall.runtime.changes.rendered import layer_renderer, remove_layer
from squall.runtime.gpu_look import RECORDING_VARIABLE, look_at_gpus
from squall.runtime.host import Host
from squall.runtime.probe import probe
from squall.runtime.spec import Level
from squall.settings.event_loop import loop_factory
from squall.settings.options import Options, networks_in, read_options
from squall.settings.paths import StatePaths, open_state
from squall.settings.version import PROTOCOL, VERSION
from squall.wire.channel import Channel
from squall.wire.codec import Frame, Kind
from squall.wire.session import Session
from squall.wire.stream import Stream

_log = logging.getLogger("squall.agent")
_REFUSED_S = 5.0
"""Before a machine that is not let in asks again: it may have been removed, or a server be about to know it."""

_GREETED = faults.declare(
    "join.greeted", "the server has greeted an agent, and does not know what runs there"
)
_JOINED = faults.declare("join.joined", "the server was told what runs there, and no frame is passed on")


def main(argv: list[str]) -> int:
    """The exit status: 0 when the agent was told to end."""
    parser = argparse.ArgumentParser(prog="squall.agent")
    parser.add_argument("--state", required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    paths = open_state(arguments.state)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(Agent(paths, read_options(paths.config)).live())


async def _open_stores(paths: StatePaths, host: Host, far: FarBlobs | None) -> tuple[Stores, DiskBlobs]:
    """The stores, and the disk behind them. far: of the server, where that is on another machine and its blobs do not lie here."""
    disk = await DiskBlobs.open(paths.blobs)
    through = None if far is None else ReadThroughBlobs(disk, far)
    blobs = through or disk
    stores = Stores(
        blobs=blobs,
        bring=None if through is None else through.bring,
        trees=await Checkouts.open(paths.trees, DirectoryRenderer(blobs)),
        rendered=await Checkouts.open(
            paths.rendered,
            layer_renderer(blobs, paths.blobs, host),
            remove=partial(remove_layer, host=host),
        ),
    )
    return stores, disk


async def _open_gpus(paths: StatePaths) -> GpuRoom:
    gpus = GpuRoom(await asyncio.to_thread(look_at_gpus, os.environ.get(RECORDING_VARIABLE, "")))
    gpus.note = paths.run / "gpus.json"
    gpus.open()
    return gpus


class Agent:
    """One node's agent."""

    def __init__(self, paths: StatePaths, options: Options) -> None:
        self._paths = paths
        self._options = options
        self._end = asyncio.Event()
        self._take_all_down = False
        self._session: Session | None = None
        self._stream: Stream | None = None
        self._dialing = Dialing(paths)
        self._refused = False
        self._relay = Relay(on_hold=self._on_hold)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def live(self) -> int:
        """Runs until told to end: SIGTERM leaves the containers running, SIGINT ends them first."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end.set)
        loop.add_signal_handler(signal.SIGINT, self._end_all)
        host = await asyncio.to_thread(probe, str(self._paths.state))
        self._level: Level = "process" if host.sandbox_refused else "sandbox"
        gpus = await _open_gpus(self._paths)
        self._node = Node(
            id=_node_id(self._paths),
            capacity=_capacity().with_gpus(*gpus.gpus),
            level=self._level,
            cores=cores(),
            gpus=gpus.gpus,
        )
        far = ServerBlobs(lambda: self._session)
        joined = self._dialing.joined is not None
        stores, disk = await _open_stores(self._paths, host, far if joined else None)
        self._elsewhere = Elsewhere(Kept(self._paths.images), disk, far, lambda: self._session)
        self._volumes = await open_volumes(self._paths, host, stores, lambda: self._session)
        self._furnish(host, gpus, stores)
        tidying = Tidying(self._paths)
        self._containers.lost = tidying.soon
        adopted = await self._pools.adopt()
        # Before anything is waited for: they speak from now on, of containers that have ended too.
        self._containers.foresee(adopted)
        if adopted:
            await self._network.ready()
        await self._containers.adopt(adopted)
        tidying.soon()
        lasting = [self._evict(stores), self._containers.measure(), self._volumes.run()]
        if joined:
            # On the server's own machine the server looks after the store.
            collecting = NodeCollecting(disk, self._paths, self._options.blobs_grace_s, self._needed)
            lasting.append(collecting.run())
        tasks = [loop.create_task(work) for work in lasting]
        sweeping = loop.create_task(self._network.sweep())
        self._pools.park()
        serving = loop.create_task(self._serve_servers())
        # An agent that serves nobody must fall: the next one does. This one would be taken for a silent machine.
        serving.add_done_callback(lambda _: self._end.set())
        await self._end.wait()
        if serving.done():
            await serving  # which raises what ended it
        for task in (serving, *tasks):
            task.cancel()
        self._containers.ahead.close()
        await sweeping
        if self._take_all_down:
            await self._take_down()
        return 0

    def _furnish(self, host: Host, gpus: GpuRoom, stores: Stores) -> None:
        """Makes the parts of the agent, and has them know each other."""
        self._pools = Pools(self._paths, spares=int(self._options.spare_launchers))
        builds = BuildSandboxes(self._pools, self._level, gpus, self._node.capacity)
        self._network = Network(
            self._paths,
            host,
            chosen=self._options.network_range.strip(),
            denied=networks_in(self._options.network_deny),
        )
        self._levels = Levels(self._paths, host)
        self._images = Images(self._paths, stores, builds, self._levels)
        self._templates = Templates(stores.blobs, self._options, cores=cores())
        means = Means(
            pools=self._pools,
            images=self._images,
            relay=self._relay,
            builds=builds,
            templates=self._templates,
            record=TemplateRecord(self._paths.template_record),
            network=self._network,
            volumes=self._volumes,
        )
        self._containers = Containers(means, self._options)
        shells = ImageShells(self._images, builds, self._paths)
        self._image_service = ImageService(self._images, self._containers, stores, shells, self._paths)
        self._containers.gpus = gpus
        gpus.changed = self._tell_changed
        self._containers.tell = self._tell
        self._containers.send_logs = self._send_logs

    async def _evict(self, stores: Stores) -> None:
        """Keeps the directories of images and sources within their bounds, for as long as the agent lives."""
        # No server was met yet: all that runs was taken over.
        self._adopted = frozenset(self._containers.present)
        checkouts = {"rendered": stores.rendered, "trees": stores.trees, "heads": self._volumes.checkouts}
        await Evicting(checkouts, int(self._options.layers_keep_bytes), self._needed).run()

    def _needed(self) -> Needed | None:
        """The directories that must stay; unknown as long as a container runs that an earlier agent has started."""
        if self._adopted & self._containers.present.keys():
            return None
        functions = self._containers.functions()
        self._volumes.keep_only(functions)
        names = self._images.keep_only(functions) | self._volumes.needed
        return Needed(names=names, since_s=self._images.leases.oldest_s())

    def _end_all(self) -> None:
        self._take_all_down = True
        self._end.set()

    async def _take_down(self) -> None:
        """Stops every container, then every launcher."""
        for container in (*self._containers.present, *self._containers.starting):
            self._containers.stop(container)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.stop_grace_s + 1.0
        while self._containers.present and loop.time() < until:
            await asyncio.sleep(0.02)
        self._pools.quit_all()
        while not self._pools.empty and loop.time() < until:
            await asyncio.sleep(0.02)
        await self._network.take_down()

    async def _serve_servers(self) -> None:
        """Connects to the server, and again when it has gone."""
        delay_s, said = 0.02, ""
        while True:
            try:
                channel = await self._dialing.dial()
            except (OSError, Error) as problem:
                if self._dialing.joined is not None and str(problem) != said:
                    said = str(problem)
                    _log.warning("%s cannot be reached: %s", self._dialing.joined.server, said)
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads agents, no secret
                delay_s = min(1.0, delay_s * 1.5)
                continue
            delay_s, said, self._refused = 0.02, "", False
            await self._serve(channel)
            if self._refused:
                await asyncio.sleep(_REFUSED_S)

    async def _serve(self, channel: Channel) -> None:
        """One connection to a server, from its first word to its end."""
        gone = asyncio.Event()
        session = Session(channel, dialer=True, on_open=self._on_open, on_close=lambda _error: gone.set())
        session.on_relay = self._relay.down
        lasting: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self._options.dead_after_s):
                stream = await self._join(session)
            patience = patience_of(self._options)
            loop = asyncio.get_running_loop()
            lasting.append(loop.create_task(beat(session, stream, patience)))
            lasting.append(loop.create_task(self._renew(session)))
            await gone.wait()
        except (ConnectionLost, ChannelClosed, TimeoutError):
            pass
        except Error as refused:
            _log.error("the server refused this agent: %s", refused)
            await asyncio.sleep(1.0)
        finally:
            for task in lasting:
                task.cancel()
            session.close()
            self._relay.disconnect()
            self._session = self._stream = None

    async def _renew(self, session: Session) -> None:
        try:
            await self._dialing.renew(session)
        except (ConnectionLost, ChannelClosed):
            pass
        except (Error, OSError, ValueError) as problem:
            _log.warning("the certificate of this machine was not renewed: %s", problem)

    async def _join(self, session: Session) -> Stream:
        await session.ask(
            "hello", {"version": VERSION, "protocol": PROTOCOL, "role": "agent", "pid": os.getpid()}
        )
        faults.point(_GREETED)
        head = {
            "node": to_json(self._as_it_is()),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "containers": self._containers.describe(),
        }
        self._stream = stream = session.open("join", head, on_frame=self._on_join_frame)
        self._session = session
        for row in self._containers.describe():
            self._tell({"t": "event", "event": "started", **row})
        faults.point(_JOINED)
        self._relay.connect(session.channel)
        self._containers.report_again()
        return stream

    def _on_join_frame(self, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            head = frame.head()
            if head.get("t") == "wanted":
                self._containers.want(bytes(frame.payload))
        elif frame.kind is Kind.FAIL and self._session is not None and self._session.error is None:
            self._refused = True
            _log.error("the server does not let this machine join: %s", Error.from_wire(frame.head()))

    def _on_open(self, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        handler = {"prepare": self._prepare, "exec": self._exec, "launchers": self._launchers}.get(
            str(head.get("t"))
        )
        if head.get("t") == "image.record":
            self._elsewhere.give_record(stream, head, frame)
        elif head.get("t") == "blob.get":
            self._spawn(self._elsewhere.give_blob(stream, head), stream)
        elif head.get("t") == "volumes":
            self._spawn(self._volumes.obey(stream, head), stream)
        elif self._image_service.knows(head.get("t")):
            self._image_service.open(stream, head, frame)
        elif handler is None:
            stream.fail(Error(f"an agent knows no message {head.get('t')!r}"))
        else:
            self._spawn(handler(stream, head, frame), stream)

    def _prepare(self, stream: Stream, _head: dict[str, Any], frame: Frame) -> Coroutine[Any, Any, None]:
        wants = json.loads(bytes(frame.payload))
        # Before anything that comes after it: a word that the app has ended must find that it was there.
        return self._make_ready(stream, wants, self._containers.know(wants))

    async def _make_ready(
        self, stream: Stream, wants: dict[str, Any], functions: tuple[Function, ...]
    ) -> None:
        def say(line: str) -> None:
            if stream.live:
                stream.send({"line": line})

        level = await self._levels.give(wants.get("level", "sandbox"))
        await self._elsewhere.fetch(wants.pop("elsewhere", ()), say)
        prepared = await self._images.prepare(wants, say)
        self._image_service.used(functions, prepared)
        notes = list(prepared.plan.warnings)
        if level == "process":
            notes.append("process" if self._level == "process" else "process_asked")
        elif level == "sandbox" and await self._network.ready() == "host":
            notes.append("host network")
        made = self._image_service.made_of(prepared)
        stream.end({"notes": notes, "made": made})
        self._containers.ahead.ready(functions)

    async def _launchers(self, stream: Stream, _head: dict[str, Any], _frame: Frame) -> None:
        rows = [
            {
                "pid": link.pid,
                "name": link.name,
                "function": link.function,
                "template": self._templates.state_of(link),
            }
            for link in self._pools.all
        ]
        stream.end({}, json.dumps({"pid": os.getpid(), "launchers": rows}).encode())

    async def _exec(self, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
        """Runs a command in a container: its ends go up, then its exit status."""
        local = self._containers.present.get(str(head["container"]))
        if local is None:
            raise NotFoundError(f"no container {head['container']!r} runs on this node")
        how = {
            "argv": head["argv"],
            "tty": bool(head.get("tty")),
            "rows": head.get("rows", 24),
            "cols": head.get("cols", 80),
        }
        how |= {key: head[key] for key in ("env", "cwd") if key in head}

        # A short command has ended before its ends are passed on: what it printed must not be lost to its own end.
        ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def tell(ended: asyncio.Future[dict[str, Any]]) -> None:
            how = ended.result()
            if stream.live:
                stream.end({"code": how.get("code"), "signal": how.get("signal")})

        message, fds = await local.launcher.run(local.id, secrets.token_hex(8), how, ended.set_result)
        if not head.get("apart"):
            stream.send({"pid": message.get("pid")}, fds=fds)
            ended.add_done_callback(tell)
            for fd in fds:
                os.close(fd)
            return
        stream.send({"pid": message.get("pid"), "ends": len(fds)})
        apart = Apart(stream, fds, tty=how["tty"])
        try:
            await ended
        finally:
            await apart.finish()
        tell(ended)

    def _spawn(self, work: Any, stream: Stream) -> None:
        async def guarded() -> None:
            try:
                await work
            except Error as refused:
                stream.fail(refused)
            except Exception as wrong:  # noqa: BLE001 - whatever goes wrong with one question, the agent lives on
                _log.exception("a question of the server could not be answered")
                stream.fail(refusal(wrong))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _as_it_is(self) -> Node:
        """The node, with the devices that nobody gets now."""
        return replace(self._node, gpus_out=self._containers.gpus.out)

    def _tell_changed(self) -> None:
        self._tell({"t": "event", "event": "changed", "node": to_json(self._as_it_is())})

    def _tell(self, event: dict[str, Any]) -> None:
        stream, session = self._stream, self._session
        if stream is None or session is None or not stream.live:
            return
        ended = event["event"] == "ended"
        route = self._relay.route_left(event["container"]) if ended else 0
        if route and not session.channel.local:
            # Large values travel in pieces: the last one of this container may still be on its way.
            self._spawn(self._tell_when_passed(session, stream, event, route), stream)
            return
        with contextlib.suppress(ChannelClosed):
            stream.send(event)
            if ended:
                self._containers.unreported.pop(event["container"], None)

    async def _tell_when_passed(
        self, session: Session, stream: Stream, event: dict[str, Any], route: int
    ) -> None:
        """Tells of an end once all that came before it has gone; where the connection ends, the next server is told."""
        with contextlib.suppress(ChannelClosed):
            await session.channel.passed(route)
            stream.send(event)
            self._containers.unreported.pop(event["container"], None)

    def _send_logs(self, head: dict[str, Any], texts: list[bytes]) -> None:
        stream = self._stream
        if stream is not None and stream.live:
            with contextlib.suppress(ChannelClosed):
                stream.send(head, *texts)

    def _on_hold(self, server: Any) -> None:
        async def release() -> None:
            with contextlib.suppress(ChannelClosed):
                await server.drain()
            self._relay.release()

        task = asyncio.get_running_loop().create_task(release())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _capacity() -> Resources:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # A core is shared by many small containers: the default share is an eighth, and idle ones cost none.
    return Resources(cpu_milli=cores() * 4000, memory_mib=memory * 9 // 10 // 2**20)


def _node_id(paths: StatePaths) -> NodeId:
    """This node's id, made once and kept."""
    path = paths.state / "node-id"
    try:
        return NodeId(path.read_text().strip())
    except FileNotFoundError:
        fresh = fresh_id(NODE)
        path.write_text(fresh)
        return NodeId(fresh)
