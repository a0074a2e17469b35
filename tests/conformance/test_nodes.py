"""Nodes in memory and nodes behind agents pass the same checks."""

from __future__ import annotations

import asyncio
import json

import pytest

from squall.model.ids import ContainerId, NodeId
from squall.model.node import Node
from squall.server.memory_nodes import MemoryNodes
from squall.server.nodes import AgentNodes, Event
from squall.testing.conformance import nodes
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream


class InMemory:
    def __init__(self) -> None:
        self.nodes = self.machines = MemoryNodes()

    async def join(self, node: Node) -> None:
        self.machines.join(node)

    async def leave(self, node: NodeId) -> None:
        self.machines.leave(node)

    async def report(self, node: NodeId, event: Event) -> None:
        self.machines.report(node, event)

    async def told(self, node: NodeId) -> nodes.Told | None:
        told = self.machines.told(node)
        if told is None:
            return None
        return (
            frozenset(one.id for one in told.wanted),
            frozenset(told.unwanted.keep),
            frozenset(told.unwanted.kill),
        )


class BehindAgents:
    """Each machine is an agent's end of a memory channel."""

    def __init__(self) -> None:
        self.nodes = self.agents = AgentNodes(clock=asyncio.get_running_loop().time)
        self.joined: dict[NodeId, Stream] = {}
        self.sessions: dict[NodeId, Session] = {}
        self.heard: dict[NodeId, nodes.Told] = {}

    async def join(self, node: Node) -> None:
        left, right = pair()

        def on_open(stream: Stream, head: Event, _frame: Frame) -> None:
            self.agents.join(node, server, stream, head)

        server = Session(
            right, dialer=False, on_open=on_open, on_close=lambda _error: self.agents.left(server)
        )
        agent = Session(left, dialer=True)
        self.heard.pop(node.id, None)
        self.joined[node.id] = agent.open("join", on_frame=lambda frame: self._hear(node.id, frame))
        self.sessions[node.id] = agent
        await settle()

    async def leave(self, node: NodeId) -> None:
        self.sessions.pop(node).close()
        await settle()

    async def report(self, node: NodeId, event: Event) -> None:
        self.joined[node].send({"t": "event", **event})
        await settle()

    async def told(self, node: NodeId) -> nodes.Told | None:
        await settle()
        return self.heard.get(node)

    def _hear(self, node: NodeId, frame: Frame) -> None:
        if frame.kind is Kind.DATA and frame.head().get("t") == "wanted":
            said = json.loads(bytes(frame.payload))
            names = [name for name, function in said["containers"] if function in said["functions"]]
            want, keep, kill = (
                frozenset(map(ContainerId, part)) for part in (names, said["keep"], said["kill"])
            )
            self.heard[node] = (want, keep, kill)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", [InMemory, BehindAgents])
@pytest.mark.parametrize("check", nodes.CHECKS, ids=lambda check: check.__name__)
def test_nodes(kind: type[InMemory | BehindAgents], check: nodes.Check) -> None:
    async def run() -> None:
        await check(kind())

    asyncio.run(run())
