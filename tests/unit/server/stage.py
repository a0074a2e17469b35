"""The stage: a server's calls, containers and capacity, with containers and clients over memory channels, and a clock
that only the test moves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from squall.model.call import OutcomeKind, Verb
from squall.model.errors import Error
from squall.model.function import Code, Function
from squall.model.ids import AppId, CallId, ContainerId, FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.server.calls import Calls
from squall.server.capacity import Capacity
from squall.server.containers import Containers
from squall.server.memory_nodes import MemoryNodes
from squall.server.node_events import NodeEvents
from squall.server.outcome_runs import error_text
from squall.server.pending import PendingLimits
from squall.server.records import CallRecord, FunctionRecord
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream

Head = dict[str, Any]
NODE = Node(id=NodeId("no-1"), capacity=Resources(cpu_milli=64_000, memory_mib=64_000), cores=4)


def function(name: str = "f", **fields: Any) -> Function:
    """A function of the app ap-1."""
    return Function(
        id=FunctionId(f"ap-1/{name}"),
        app=AppId("ap-1"),
        name=name,
        code=Code(module="m", qualname=name),
        **fields,
    )


@dataclass
class Client:
    """A caller: one stream, and what came on it."""

    stream: Stream
    record: CallRecord
    frames: list[tuple[Kind, Head, bytes]] = field(default_factory=list)

    def take(self, frame: Frame) -> None:
        self.frames.append((frame.kind, frame.head(), bytes(frame.payload)))

    @property
    def ended(self) -> bool:
        return any(kind in (Kind.END, Kind.FAIL) for kind, _, _ in self.frames)

    @property
    def error(self) -> Head:
        (found,) = [head for kind, head, _ in self.frames if kind is Kind.FAIL]
        return found

    def outcomes(self) -> dict[int, tuple[int, bytes]]:
        """Index to (kind, bytes): each input's, which comes once."""
        found: dict[int, tuple[int, bytes]] = {}
        for _, head, payload in self.frames:
            if "o" not in head:
                continue
            start, sizes, kinds = head["o"]
            at = 0
            for offset, size in enumerate(sizes):
                length = sum(size) if isinstance(size, list) else size
                assert start + offset not in found, "an outcome came twice"
                found[start + offset] = (kinds[offset] if kinds else 0, payload[at : at + length])
                at += length
        return found


@dataclass
class FakeContainer:
    """A container: what it was sent, and what it says."""

    id: ContainerId
    stream: Stream
    given: list[tuple[Head, bytes]] = field(default_factory=list)
    sent: int = 0
    heard_something: Callable[[], None] = lambda: None

    def take(self, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            self.given.append((frame.head(), bytes(frame.payload)))
            self.heard_something()

    def say(self, head: Head, payload: bytes = b"") -> None:
        self.sent += 1
        self.stream.send({"n": self.sent, **head}, payload)

    def heard(self, kind: str) -> list[Head]:
        return [head for head, _ in self.given if head["t"] == kind]

    @property
    def leases(self) -> list[tuple[str, int, int, int]]:
        """(call, start, stop, attempt) of everything it was given to run."""
        return [
            (call, start, start + len(sizes), attempt)
            for head in self.heard("in")
            for call, start, attempt, sizes in head["L"]
        ]

    def finish(self, lease: tuple[str, int, int, int], *, kind: int = 0, seconds: float = 0.01) -> None:
        """Says that inputs ended, each with its own index as the value."""
        call, start, stop, attempt = lease
        texts = [b"%d" % index for index in range(start, stop)]
        kinds = [kind] * len(texts) if kind else 0
        sizes: list[Any] = [[len(text), 0] if kind == 1 else len(text) for text in texts]
        self.say({"t": "out", "L": [[call, start, attempt, sizes, kinds, seconds]]}, b"".join(texts))

    def fail(self, lease: tuple[str, int, int, int], error: Error) -> None:
        """Says that one input ended with an error of ours."""
        call, start, _stop, attempt = lease
        text = error_text(error)
        kinds = [int(OutcomeKind.FAILED)]
        self.say({"t": "out", "L": [[call, start, attempt, [len(text)], kinds, 0.01]]}, text)


class Stage:
    """Made inside a running loop; see `play`."""

    def __init__(self, **fields: Any) -> None:
        self.now_s = 1000.0
        self.woken = 0
        self.timers: list[tuple[float, Callable[..., object], tuple[Any, ...]]] = []
        self.nodes: MemoryNodes = fields.pop("nodes", None) or MemoryNodes()
        limits = fields.pop("limits", PendingLimits())
        self.calls = Calls(clock=self.clock, later=self.later, wake=self.wake, limits=limits)
        self.capacity = Capacity(self.calls, self.nodes, clock=self.clock)
        self.containers = Containers(self.calls, clock=self.clock, wake=self.capacity.wake)
        self.capacity.containers = self.containers
        self.containers.broken = self.capacity.kill
        self.events = NodeEvents(self.calls, self.capacity, self.containers, self.later)
        self.capacity.keep = self.events.kept
        self.nodes.listen(self.events.take)
        self.nodes.join(NODE)
        self.record = self.add(function(**fields))
        self._numbers = 0

    def wake(self) -> None:
        """Something may be to be planned: here, the test says when."""
        self.woken += 1

    def clock(self) -> float:
        return self.now_s

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        self.timers.append((self.now_s + delay_s, callback, args))

    def wait(self, seconds: float) -> None:
        """The clock moves on, and what is due happens."""
        self.now_s += seconds
        due = sorted((timer for timer in self.timers if timer[0] <= self.now_s), key=lambda timer: timer[0])
        self.timers = [timer for timer in self.timers if timer[0] > self.now_s]
        for _, callback, args in due:
            callback(*args)

    def add(self, declared: Function) -> FunctionRecord:
        record = self.calls.functions[declared.id] = FunctionRecord(declared)
        return record

    def client(
        self, name: str = "fc-1", verb: Verb = Verb.MAP, record: FunctionRecord | None = None
    ) -> Client:
        """A call, of which nothing has been submitted yet."""
        left, right = pair()
        found: list[Stream] = []
        Session(right, dialer=False, on_open=lambda stream, _head, _frame: found.append(stream))
        call = CallRecord(CallId(name), (record or self.record).function.id, verb)
        client = Client(
            Session(left, dialer=True).open("call", on_frame=lambda frame: client.take(frame)), call
        )
        self._pending = (found, call)
        return client

    async def submit(
        self, count: int = 1, *, name: str = "fc-1", start: int = 0, total: int | None = -1, size: int = 1
    ) -> Client:
        """A client that has sent `count` inputs of `size` bytes; total -1: these are all."""
        client = self.client(name)
        await settle()
        client.record.stream = self.opened()
        self.send(client, count, start=start, total=start + count if total == -1 else total, size=size)
        await settle()
        return client

    def opened(self) -> Stream:
        """The server's end of the stream of the last client."""
        return self._pending[0][0]

    def send(self, client: Client, count: int, *, start: int, total: int | None, size: int = 1) -> None:
        head = {"start": start, "d": [size] * count, "total": total}
        payload = b"".join(b"%d" % (index % 10) * size for index in range(start, start + count))
        self.calls.submit(client.record, head, Frame(Kind.DATA, payload=payload))

    async def container(self, record: FunctionRecord | None = None, *, ready: bool = True) -> FakeContainer:
        """A container that was wanted, and has said that it is ready."""
        self._numbers += 1
        name = ContainerId(f"co-{self._numbers}")
        self.containers.expect(name, record or self.record)
        self.capacity.placed[name] = NODE.id
        fake = await self.serve(name)
        if ready:
            fake.say({"t": "ready", "seconds": 0.1})
            await settle()
        return fake

    async def serve(self, name: ContainerId, sent: int = 0, **head: Any) -> FakeContainer:
        """A container opens its serving stream, for the first time or again."""
        left, right = pair()

        def on_open(stream: Stream, opening: Head, _frame: Frame) -> None:
            worker = self.calls.workers.get(name)
            if worker is not None:
                self.containers.serve(worker, stream, opening)
            elif name in self.events.orphans:
                self.events.orphans[name].wait(stream, opening)

        Session(right, dialer=False, on_open=on_open)
        session = Session(left, dialer=True)
        opening = {"sent": sent, "ready": None, **head}
        fake = FakeContainer(
            name, session.open("serve", opening, on_frame=lambda frame: fake.take(frame)), sent=sent
        )
        await settle()
        return fake


async def until(holds: Callable[[], bool]) -> None:
    """It holds."""
    while not holds():
        await asyncio.sleep(0)


async def settle() -> None:
    """Everything that is on its way arrives."""
    for _ in range(12):
        await asyncio.sleep(0)


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a scene on a loop of its own."""
    asyncio.run(scene())


def error_in(outcome: tuple[int, bytes]) -> Head:
    """The error of ours that an outcome carries."""
    kind, text = outcome
    assert kind == 2
    found: Head = json.loads(text)
    return found
