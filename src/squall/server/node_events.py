"""Node events: what nodes report or leave unsaid, applied to containers; and containers that outlived a server."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from squall.model.container import ContainerEnd, ContainerState
from squall.model.errors import Error
from squall.model.gpu import Gpus
from squall.model.ids import AppId, ContainerId, FunctionId, NodeId
from squall.model.jsonable import from_json
from squall.scheduling.liveness import Health
from squall.server.calls import Calls
from squall.server.capacity import Capacity
from squall.server.containers import Containers
from squall.server.nodes import Event
from squall.server.records import FunctionRecord, Worker
from squall.wire.codec import Frame
from squall.wire.stream import Stream

ORPHAN_GRACE_S = 10.0
CATCH_UP_S = 2.0
EARLY_BYTES = 16 * 2**20
_log = logging.getLogger("squall.server")
_LOST = ContainerEnd(cause="signal", signal=9)


@dataclass(slots=True)
class Orphan:
    """A container that outlived the server that wanted it: kept until its client has come back, for a grace.

    What it sends meanwhile is kept too, and not acknowledged, up to EARLY_BYTES; beyond them it is not wanted back.
    """

    node: NodeId
    row: Event
    serving: tuple[Stream, dict[str, Any]] | None = None
    early: list[Frame] = field(default_factory=list)
    size: int = 0

    def wait(self, stream: Stream, head: dict[str, Any]) -> None:
        """Its serving stream is there, its client is not."""
        self.forget()
        self.serving = (stream, head)
        stream.on_frame = self._keep

    def forget(self) -> None:
        """Lets go of what it has sent."""
        for frame in self.early:
            for fd in frame.take_fds():
                os.close(fd)
        self.early, self.size = [], 0

    def _keep(self, frame: Frame) -> None:
        self.size += len(frame.payload)
        if self.size <= EARLY_BYTES:
            fds = frame.take_fds()
            self.early.append(Frame(frame.kind, frame.stream, frame.route, frame.header, frame.payload, fds))


class NodeEvents:
    """Applies events of nodes.

    joined: told when a node has come, and which functions' images it had; alone: told when the last one has gone;
    claimed: told of each container that outlived a server once its function is known again; dropped: told when containers
    that nobody has claimed are waited for no longer.
    """

    def __init__(
        self, calls: Calls, capacity: Capacity, containers: Containers, later: Callable[..., object]
    ) -> None:
        self.orphans: dict[ContainerId, Orphan] = {}
        self.claimed: Callable[[ContainerId], object] = lambda _container: None
        self.dropped: Callable[[], None] = lambda: None
        self.joined: Callable[[NodeId, list[FunctionRecord]], None] = lambda _node, _had: None
        self.alone: Callable[[], None] = lambda: None
        self.dead_after_s = 10.0
        self._calls = calls
        self._capacity = capacity
        self._containers = containers
        self._later = later
        self._here: dict[NodeId, bool] = {}
        self._left: Counter[NodeId] = Counter()
        self._waited_for: set[NodeId] = set()

    def take(self, node: NodeId, event: Event) -> None:
        """One event; see `squall.server.nodes.Nodes.listen`."""
        match event["event"]:
            case "joined":
                self._join(node, event)
            case "gone":
                self._leave(node)
            case Health.SUSPECT:
                _log.warning("node %s does not answer: it gets no new work", node)
                self._silence(node, silent=True)
            case Health.DEAD:
                self._give_up(node)
            case Health.ALIVE:
                self._waited_for.discard(node)
                self._silence(node, silent=False)
                self._capacity.tell()
            case "started":
                self._started(ContainerId(event["container"]), event)
            case "starting":
                self._starting(ContainerId(event["container"]), event)
            case "template":
                self._template(node, event)
            case "usage":
                self._usage(event)
                return
            case "ended":
                self._ended(ContainerId(event["container"]), from_json(ContainerEnd, event["end"]))
            case "refused":
                container = ContainerId(event["container"])
                self._capacity.placed.pop(container, None)
                self._containers.refused(container, event["error"])
        self._capacity.wake()

    def could_not_prepare(self, node: NodeId, functions: Sequence[FunctionId], error: Error) -> None:
        """A node has no image for these functions: the containers that were to start there do not."""
        for worker in self._on(node):
            if worker.function in functions and worker.pid is None and not worker.ready:
                self._capacity.placed.pop(worker.id, None)
                self._containers.refused(worker.id, error.to_wire())
        self._capacity.wake()

    def claim(self, record: FunctionRecord) -> None:
        """A function became known again after a restart: its containers are taken back, and what they said counts."""
        for container, orphan in list(self.orphans.items()):
            if orphan.row.get("function") != record.function.id:
                continue
            del self.orphans[container]
            worker = self._containers.expect(container, record)
            worker.outlived = True
            worker.lived_before_s = float(orphan.row.get("lived_s", 0.0))
            record.catching_up.add(container)
            self._later(CATCH_UP_S, self._wait_no_longer, record, container)
            self._capacity.placed[container] = orphan.node
            self._started(container, orphan.row)
            if orphan.size > EARLY_BYTES:
                self._capacity.stop(worker)
            elif orphan.serving is not None:
                stream, head = orphan.serving
                self._containers.serve(worker, stream, head)
                for frame in orphan.early:
                    stream.on_frame(frame)
            orphan.forget()
            self.claimed(container)

    def _wait_no_longer(self, record: FunctionRecord, container: ContainerId) -> None:
        if container in record.catching_up:
            record.catching_up.discard(container)
            self._calls.feed(record)

    def awaits(self, app: AppId) -> bool:
        """Whether containers of an app are here that its client has not claimed yet."""
        return any(str(orphan.row.get("function")).startswith(f"{app}/") for orphan in self.orphans.values())

    def kept(self, node: NodeId) -> tuple[ContainerId, ...]:
        """The containers of a node that may be wanted again."""
        return tuple(container for container, orphan in self.orphans.items() if orphan.node == node)

    def _join(self, node: NodeId, event: Event) -> None:
        """What an agent has when it joins: known containers go on, those of no known app wait for their client.

        Containers that this server expects there and that are gone have ended.
        """
        self._here[node] = True
        self._calls.returning.open()
        self._waited_for.discard(node)
        had = [record for record in self._calls.functions.values() if node in record.image_on]
        self._forget_what_lies_on(node)
        present = {ContainerId(row["container"]): row for row in event.get("containers", [])}
        for container, row in present.items():
            if container in self._calls.workers:
                self._capacity.placed[container] = node
                self._started(container, row)
            else:
                if (earlier := self.orphans.get(container)) is not None:
                    earlier.forget()
                self.orphans[container] = Orphan(node, row)
        for record in self._calls.functions.values():
            self.claim(record)
        for worker in self._on(node):
            worker.silent = False
            if worker.id not in present and (worker.pid is not None or worker.ready):
                self._ended(worker.id, ContainerEnd(cause="killed"))
        here = [(name, orphan) for name, orphan in self.orphans.items() if name in present]
        self._later(ORPHAN_GRACE_S, self._drop_orphans, here)
        # Now there is elsewhere.
        for other in sorted(self._waited_for):
            self._give_up(other)
        self._capacity.tell()
        self.joined(node, had)

    def _leave(self, node: NodeId) -> None:
        """The connection is lost: its containers live on under their launchers, and the agent that comes back tells."""
        self._here[node] = False
        self._silence(node, silent=True)
        for worker in self._on(node):
            worker.stream = None
        if not any(self._here.values()):
            self.alone()
        self._left[node] += 1
        self._later(self.dead_after_s, self._give_up_unless_back, node, self._left[node])

    def _give_up_unless_back(self, node: NodeId, left: int) -> None:
        # Whoever was back meanwhile and has left again has as long as the first time.
        if not self._here.get(node) and self._left[node] == left:
            self._give_up(node)

    def _give_up(self, node: NodeId) -> None:
        """What a node has in hand runs elsewhere, once there is elsewhere, or goes on when the node answers again."""
        self._waited_for.discard(node)
        if not any(here for name, here in self._here.items() if name != node):
            self._waited_for.add(node)
            _log.warning("node %s is silent, and there is no other: its inputs wait for it", node)
            return
        _log.warning("node %s is given up: its inputs run elsewhere", node)
        self._forget_what_lies_on(node)
        for worker in self._on(node):
            self._ended(worker.id, _LOST)

    def _silence(self, node: NodeId, *, silent: bool) -> None:
        for worker in self._on(node):
            worker.silent = silent
            record = self._calls.functions.get(worker.function)
            if record is None:
                continue
            if silent and worker in record.free:
                record.free.remove(worker)
            elif not silent and worker.state is ContainerState.IDLE and worker.ready:
                self._calls.go_on(record, worker, worker.idle_since_s)

    def _on(self, node: NodeId) -> list[Worker]:
        placed = self._capacity.placed
        return [worker for worker in self._calls.workers.values() if placed.get(worker.id) == node]

    def _ended(self, container: ContainerId, end: ContainerEnd) -> None:
        self._capacity.placed.pop(container, None)
        self._containers.ended(container, end)

    def _drop_orphans(self, here: Sequence[tuple[ContainerId, Orphan]]) -> None:
        """Those that came with one agent have had their time; others may have come since."""
        for container, orphan in here:
            if self.orphans.get(container) is orphan:
                del self.orphans[container]
                orphan.forget()
        if not self.orphans:
            self._calls.returning.clear()
            self.dropped()
        self._capacity.tell()

    def _template(self, node: NodeId, event: Event) -> None:
        """A node has a template of a function ready, or has it no more."""
        record = self._calls.functions.get(event["function"])
        if record is not None and event["state"] == "ready":
            record.template_on.add(node)
        elif record is not None:
            record.template_on.discard(node)

    def _forget_what_lies_on(self, node: NodeId) -> None:
        """An agent that is new, or a node that is lost, has no template and no image until it says so."""
        for record in self._calls.functions.values():
            record.template_on.discard(node)
            record.image_on.discard(node)

    def _usage(self, event: Event) -> None:
        """What a node's containers have taken so far."""
        now_s = self._calls.clock()
        for container, cpu_s, byte_s in event["L"]:
            worker = self._calls.workers.get(ContainerId(container))
            if worker is not None:
                worker.used(cpu_s, byte_s, now_s=now_s)

    def _starting(self, container: ContainerId, row: Event) -> None:
        """A start that takes long: what it waits for on its node."""
        worker = self._calls.workers.get(container)
        if worker is not None and worker.started_s is None:
            worker.waits_for, worker.waited_ms = str(row["waits_for"]), dict(row["waited_ms"])

    def _started(self, container: ContainerId, row: Event) -> None:
        worker = self._calls.workers.get(container)
        if worker is not None:
            record, node = self._calls.functions.get(worker.function), self._capacity.placed.get(container)
            if record is not None and node is not None:
                record.image_on.add(node)
            worker.pid = row.get("pid")
            worker.heard_s = self._calls.clock()
            worker.rung = str(row.get("rung", ""))
            worker.rung_why = str(row.get("why", ""))
            worker.level = str(row.get("level", ""))
            worker.launcher_pid = row.get("launcher_pid")
            worker.phases_ms, worker.waited_ms = row.get("phases_ms", {}), row.get("waited_ms", {})
            self._containers.runs(worker)
            if row.get("gpus"):
                worker.gpus = from_json(Gpus, row["gpus"])
                worker.gpu_ids = tuple(row.get("gpu_ids", ()))
