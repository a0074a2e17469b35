"""Cluster: machines and the links to them: they join, fall silent, come back and leave, as `server/node_events.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from squall.model.container import ContainerEnd, ContainerState, WantedContainer
from squall.model.ids import ContainerId, NodeId
from squall.model.node import Node
from squall.scheduling.inputs import Segment
from squall.scheduling.liveness import Health, Patience, health
from squall.simulation.again import Reader
from squall.simulation.clock import Clock
from squall.simulation.nodes import HOP_S, Machine
from squall.simulation.planning import Planning
from squall.simulation.records import Worker
from squall.simulation.said import Back, Begun, Done, Ended, Ready, Said
from squall.simulation.serving import Serving

LOST = ContainerEnd(cause="signal", signal=9)
KILLED = ContainerEnd(cause="killed")


@dataclass(slots=True, eq=False)
class Link:
    """A machine and the connection to it.

    joined: the server knows it; mute: nothing passes to the server, deaf: nothing to the machine, until it answers again; slow_s: how
    long everything takes besides. life: counts how often the machine has gone down, so that what was on its way to an earlier
    life is lost; wire: the same of the connection; leaves: how often the server has seen it go. up, down: what waits meanwhile; up_s, down_s: nothing arrives before what was
    sent earlier.
    """

    machine: Machine
    joined: bool = False
    here: bool = True
    mute: bool = False
    deaf: bool = False
    slow_s: float = 0.0
    wire: int = 0
    leaves: int = 0
    up_s: float = 0.0
    down_s: float = 0.0
    heard_s: float = 0.0
    health: Health = Health.ALIVE
    life: int = 0
    up: list[tuple[Said, int]] = field(default_factory=list)
    down: list[Callable[[], None]] = field(default_factory=list)

    @property
    def passes(self) -> bool:
        """Whether both hear each other."""
        return not self.mute and not self.deaf


class Cluster:
    """Every machine. up: whether there is a server; serving and planning are bound before the first event.

    reader: judges what comes twice and what never came.
    """

    def __init__(self, clock: Clock, reader: Reader) -> None:
        self._reader = reader
        self.links: dict[NodeId, Link] = {}
        self.up = True
        self.serving: Serving
        self.planning: Planning
        self._waited_for: set[NodeId] = set()
        self._clock = clock
        self._patience = Patience()

    def nodes(self) -> tuple[Node, ...]:
        """The nodes that are there and answer."""
        return tuple(
            link.machine.node for link in self.links.values() if link.joined and link.health is Health.ALIVE
        )

    # -- what passes

    def say(self, node: NodeId, said: Said, number: int = 0) -> None:
        """A machine tells the server something. number: of a container's message."""
        link = self.links[node]
        link.up_s = max(link.up_s, self._clock.now_s + HOP_S + link.slow_s)
        self._clock.at(link.up_s, self._arrives, link, (said, number), (link.life, link.wire))

    def lease(self, worker: Worker, segments: list[Segment]) -> None:
        """A container is given inputs, and told which of its messages are done with."""
        machine, settled = self.links[worker.node].machine, worker.settled
        self._send(worker.node, lambda: machine.give(worker.id, segments, settled))

    def make_way(self, worker: Worker) -> None:
        """A container is asked for what it has not begun."""
        machine = self.links[worker.node].machine
        self._send(worker.node, lambda: machine.make_way(worker.id))

    def tell(self, node: NodeId, wanted: tuple[WantedContainer, ...]) -> None:
        """A machine is told its whole wanted set."""
        machine = self.links[node].machine
        self._send(node, lambda: machine.want(wanted))

    # -- what happens to machines

    def join(self, link: Link) -> None:
        """A machine offers itself, and says what runs there; unknown containers are taken back."""
        if not self.up or not link.here or not link.passes:
            return
        link.wire += 1
        link.joined, link.health, link.heard_s = True, Health.ALIVE, self._clock.now_s
        self._waited_for.discard(link.machine.node.id)
        bodies = link.machine.bodies
        for container, body in bodies.items():
            if container not in self.serving.workers and not body.stopping:
                self._take_back(link, container)
        for worker in self._on(link):
            worker.silent = False
            if worker.id in bodies:
                worker.told = True
                self._hear_again(link, worker)
            elif worker.told or worker.ready:
                self.serving.ended(worker.id, KILLED)
        self._flush_up(link)
        for worker in self._on(link):
            if worker.ready:
                self.serving.serves(worker)
        for other in sorted(self._waited_for):
            self._give_up(self.links[other])
        self.planning.tell()
        self.planning.wake()

    def go_down(self, link: Link, *, noticed: bool) -> None:
        """A machine goes down with all that is on it; noticed: its connection is closed, else it is only silent."""
        link.here = False
        link.life += 1
        link.up.clear()
        link.down.clear()
        link.machine.lose_everything()
        if noticed:
            self._leave(link)
        else:
            self._watch(link)

    def come_up(self, link: Link) -> None:
        """A machine is there again, empty."""
        if not link.here:
            link.here, link.mute, link.deaf = True, False, False
            link.life += 1
            self.join(link)

    def fall_silent(self, link: Link, *, mute: bool = True, deaf: bool = True) -> None:
        """Nothing passes between a machine and the server, or in one way only, though both go on."""
        if link.here and link.passes:
            link.mute, link.deaf = mute, deaf
            if mute:
                self._watch(link)

    def answer_again(self, link: Link) -> None:
        """What waited on both sides passes now."""
        if link.passes or not link.here:
            return
        link.mute = link.deaf = False
        waiting, link.down = link.down, []
        for deliver in waiting:
            deliver()
        if not link.joined:
            self.join(link)
            return
        link.health, link.heard_s = Health.ALIVE, self._clock.now_s
        self._waited_for.discard(link.machine.node.id)
        self._flush_up(link)
        self._silence(link, silent=False)
        self.planning.tell()
        self.planning.wake()

    def break_off(self, link: Link, *, heard: bool) -> None:
        """The connection to a machine breaks, with what was on its way up, and, unless it was heard, on its way down."""
        if not link.here:
            return
        link.wire += 1
        link.mute = link.deaf = False
        # What agents report, they report until it was heard; containers say all again that was not acknowledged.
        link.up = [one for one in link.up if not one[1]]
        waiting, link.down = link.down, []
        for deliver in waiting if heard else ():
            deliver()
        self._leave(link)

    def lose_server(self) -> None:
        """The server is gone: nobody hears the machines, which go on."""
        self.up = False
        self._waited_for.clear()
        for link in self.links.values():
            link.joined = False
            link.wire += 1
            link.up = [one for one in link.up if not one[1]]
            link.health = Health.ALIVE

    # -- inside

    def _send(self, node: NodeId, deliver: Callable[[], None]) -> None:
        link = self.links[node]
        life, wire = link.life, link.wire

        def arrive() -> None:
            if link.life != life or link.wire != wire or not link.here:
                return
            if link.deaf:
                link.down.append(deliver)
            else:
                deliver()

        link.down_s = max(link.down_s, self._clock.now_s + HOP_S + link.slow_s)
        self._clock.at(link.down_s, arrive)

    def _arrives(self, link: Link, message: tuple[Said, int], sent: tuple[int, int]) -> None:
        said, number = message
        life, wire = sent
        if link.life != life:
            return
        here = self.up and link.joined
        if number and (link.wire != wire or not here):
            return
        if not here or link.mute:
            link.up.append(message)
        else:
            link.heard_s = self._clock.now_s
            self._heed(said, number)

    def _heed(self, said: Said, number: int) -> None:
        worker = self.serving.workers.get(said.container)
        if worker is not None and not self._reader.is_news(worker, number):
            return
        match said:
            case Begun():
                if worker is not None:
                    worker.told = True
            case Ready():
                if worker is not None:
                    self.serving.serves(worker)
            case Done():
                self.serving.done(said)
            case Back():
                self.serving.back(said)
            case Ended(container=container, end=end):
                self.serving.ended(container, end)
        self.planning.wake() if isinstance(said, Ended) else None

    def _flush_up(self, link: Link) -> None:
        waiting, link.up = link.up, []
        for said, number in waiting:
            self._heed(said, number)

    def _hear_again(self, link: Link, worker: Worker) -> None:
        """A container that is known has a new connection: it says what was not acknowledged, and what it has in hand."""
        body = link.machine.bodies[worker.id]
        for number, said in list(body.kept):
            self._heed(said, number)
        if worker.id not in self.serving.workers or not body.ready:
            return
        record = self.serving.functions[worker.function]
        record.touched = True
        for part in reversed(self._reader.missing(record.line, worker, link.machine.holding(worker.id))):
            record.line.give_back(worker.id, part)
        worker.yielding = worker.yielding and bool(record.line.leases.get(worker.id))

    def _take_back(self, link: Link, container: ContainerId) -> None:
        """A container of an earlier server, or of a node that was given up: what it has in hand is its own again."""
        body = link.machine.bodies[container]
        record = self.serving.functions[body.wanted.function.id]
        worker = self.planning.expect(record, link.machine.node.id, container)
        worker.outlived = worker.told = record.touched = True
        if body.ready:
            worker.ready, worker.ready_s = True, self._clock.now_s
        for part in link.machine.holding(container):
            if record.line.adopt(container, part):
                worker.state = ContainerState.BUSY
        for number, said in list(body.kept):
            self._heed(said, number)

    def _watch(self, link: Link) -> None:
        link.heard_s = self._clock.now_s
        for after_s in (self._patience.suspect_after_s, self._patience.dead_after_s):
            self._clock.later(after_s, self._judge, link, link.life)

    def _judge(self, link: Link, life: int) -> None:
        """What is believed of a machine that may be silent still."""
        if not link.joined or link.life != life or (link.here and not link.mute):
            return
        seen = health(self._clock.now_s - link.heard_s, self._patience)
        if seen is link.health:
            return
        link.health = seen
        if seen is Health.SUSPECT:
            self._silence(link, silent=True)
        elif seen is Health.DEAD:
            self._give_up(link)
        self.planning.wake()

    def _leave(self, link: Link) -> None:
        if not link.joined:
            return
        link.joined = False
        self._silence(link, silent=True)
        link.leaves += 1
        self._clock.later(self._patience.dead_after_s, self._give_up_unless_back, link, link.leaves)
        self.planning.wake()

    def _give_up_unless_back(self, link: Link, leave: int) -> None:
        if self.up and not link.joined and link.leaves == leave:
            self._give_up(link)

    def _give_up(self, link: Link) -> None:
        """What a node has in hand runs elsewhere, once there is elsewhere; until then it waits for the node."""
        if not any(other.joined for other in self.links.values() if other is not link):
            self._waited_for.add(link.machine.node.id)
            return
        self._waited_for.discard(link.machine.node.id)
        for worker in self._on(link):
            self.serving.ended(worker.id, LOST)

    def _silence(self, link: Link, *, silent: bool) -> None:
        for worker in self._on(link):
            worker.silent = silent
            record = self.serving.functions[worker.function]
            if silent and worker in record.free:
                record.free.remove(worker)
            elif not silent and worker.state is ContainerState.IDLE and worker.ready:
                self.serving.go_on(record, worker)

    def _on(self, link: Link) -> list[Worker]:
        name = link.machine.node.id
        return [worker for worker in self.serving.workers.values() if worker.node == name]
