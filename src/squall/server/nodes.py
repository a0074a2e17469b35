"""Nodes: the machines that run containers, and how they are told what to run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from squall.model.container import WantedContainer
from squall.model.ids import ContainerId, FunctionId, NodeId
from squall.model.jsonable import from_json, to_json
from squall.model.node import Node
from squall.scheduling.liveness import Health, Patience, health, was_away
from squall.server.telling import pass_on
from squall.wire.codec import Frame
from squall.wire.session import Session
from squall.wire.stream import Stream

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwanted:
    """Of what is not wanted: which of it stays for now, and which goes without a grace.

    keep: containers of an earlier server that may be wanted again. kill: those that did not give way. known: functions
    that may want containers at any moment, so that what starts them quickly stays.
    """

    keep: tuple[ContainerId, ...] = ()
    kill: tuple[ContainerId, ...] = ()
    known: tuple[FunctionId, ...] = ()


NOTHING_SPECIAL = Unwanted()


def wanted_bytes(wanted: tuple[WantedContainer, ...], unwanted: Unwanted) -> bytes:
    """A wanted set as a payload: every function once, then its containers."""
    functions = {container.function.id: to_json(container.function) for container in wanted}
    containers = [[c.id, c.function.id] for c in wanted]
    gpus = {c.id: to_json(c.gpus) for c in wanted if c.gpus is not None}
    said = {"functions": functions, "containers": containers, **asdict(unwanted)}
    said |= {"gpus": gpus} if gpus else {}
    return json.dumps(said).encode()


class Nodes(Protocol):
    """Which nodes there are, and what each shall run."""

    def nodes(self) -> tuple[Node, ...]:
        """The nodes that are there and answer."""
        ...

    def tell(
        self, node: NodeId, wanted: tuple[WantedContainer, ...], unwanted: Unwanted = NOTHING_SPECIAL
    ) -> None:
        """Tells a node its whole wanted set; a lost message is healed by the next. Unknown nodes are passed over."""
        ...

    def listen(self, on_event: Callable[[NodeId, Event], None]) -> None:
        """Where a node's events go: {"event": …, …}.

        "joined", "gone" of its connection; "suspect", "dead", "alive" of its silence; "starting" of a container that is late:
        "waits_for", and "waited_ms" for what before; "started", "ended", "refused" of one of its containers; "template" of what a function's containers are forked from there: "function", and "state",
        which is "ready" or anything else; "changed" of what it has, which `nodes` gives from then on.
        """
        ...


@dataclass(slots=True)
class _Joined:
    node: Node
    session: Session
    stream: Stream
    heard_s: float
    health: Health = Health.ALIVE
    version: int = 0
    routes: dict[int, ContainerId] = field(default_factory=dict)


class AgentNodes:
    """Nodes whose agents are connected to this server. clock: seconds, monotonic."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._joined: dict[NodeId, _Joined] = {}
        self._on_event: Callable[[NodeId, Event], None] = lambda _node, _event: None
        self.on_logs: Callable[[dict[str, Any], memoryview], None] = lambda _head, _payload: None

    def listen(self, on_event: Callable[[NodeId, Event], None]) -> None:
        """See Nodes."""
        self._on_event = on_event

    def nodes(self) -> tuple[Node, ...]:
        """See Nodes."""
        return tuple(joined.node for joined in self._joined.values() if joined.health is Health.ALIVE)

    async def watch(self, patience: Patience) -> None:
        """Looks for nodes that have fallen silent, for ever."""
        while True:
            looked_s = self._clock()
            await asyncio.sleep(patience.heartbeat_s)
            self.look(patience, away=was_away(self._clock() - looked_s, patience))

    def look(self, patience: Patience, *, away: bool = False) -> None:
        """Judges every node by its silence; away: who looks was itself stopped, so that silence says nothing."""
        now_s = self._clock()
        for name, joined in list(self._joined.items()):
            if away:
                joined.heard_s = now_s
            seen = health(now_s - joined.heard_s, patience)
            if seen is not joined.health:
                joined.health = seen
                self._on_event(name, {"event": seen})

    def tell(
        self, node: NodeId, wanted: tuple[WantedContainer, ...], unwanted: Unwanted = NOTHING_SPECIAL
    ) -> None:
        """See Nodes."""
        joined = self._joined.get(node)
        if joined is None or not joined.stream.live:
            return
        joined.version += 1
        said = {"t": "wanted", "version": joined.version}
        pass_on(joined.stream.send, said, wanted_bytes(wanted, unwanted), ())

    def join(self, node: Node, session: Session, stream: Stream, head: Event) -> None:
        """An agent has connected: it takes the place of an earlier connection of the same node."""
        self._joined[node.id] = joined = _Joined(node, session, stream, self._clock())
        stream.on_frame = lambda frame: self._on_frame(joined, frame)
        self._on_event(node.id, {**head, "event": "joined"})

    def left(self, session: Session) -> None:
        """The connection to an agent is gone."""
        for node, joined in list(self._joined.items()):
            if joined.session is session:
                del self._joined[node]
                self._on_event(node, {"event": "gone"})

    def session_of(self, node: NodeId | None = None) -> Session | None:
        """The connection to a node's agent; any node's without one."""
        for name, joined in self._joined.items():
            if node is None or name == node:
                return joined.session
        return None

    def rows(self) -> list[Event]:
        """The nodes that are connected, as people and programs are told of them."""
        return [
            {
                "id": joined.node.id,
                "state": str(joined.health),
                "level": joined.node.level,
                "capacity": str(joined.node.capacity),
                "gpus": {part.type: part.count for part in joined.node.gpus},
                "containers": len(joined.routes),
            }
            for joined in self._joined.values()
        ]

    def sessions(self) -> tuple[tuple[NodeId, Session], ...]:
        """The connections to the agents of the nodes that answer."""
        return tuple(
            (name, joined.session) for name, joined in self._joined.items() if joined.health is Health.ALIVE
        )

    def container_on(self, session: Session, route: int) -> ContainerId | None:
        """Which container a route of an agent's connection stands for."""
        for joined in self._joined.values():
            if joined.session is session:
                return joined.routes.get(route)
        return None

    def _on_frame(self, joined: _Joined, frame: Frame) -> None:
        head = frame.head()
        kind = head.get("t")
        joined.heard_s = self._clock()
        if kind == "logs":
            self.on_logs(head, memoryview(frame.payload))
        elif kind == "event":
            if "route" in head:
                joined.routes[int(head["route"])] = ContainerId(head["container"])
            if head["event"] == "ended":
                for route in [r for r, c in joined.routes.items() if c == head["container"]]:
                    del joined.routes[route]
                    joined.session.close_route(route)
            if head["event"] == "changed":
                joined.node = from_json(Node, head["node"])
            self._on_event(joined.node.id, head)
