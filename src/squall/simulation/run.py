"""Run: one simulated run, from its first call until everything has ended and gone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from squall.model.container import ContainerEnd
from squall.model.function import Code, Function, Retries, Scaling
from squall.model.ids import AppId, CallId, FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.inputs import FunctionLine
from squall.scheduling.view import Step
from squall.simulation.again import Reader
from squall.simulation.callers import Callers, OpenCall
from squall.simulation.clock import Clock, Timer
from squall.simulation.cluster import Cluster, Link
from squall.simulation.disk import Disk
from squall.simulation.durable import Durable
from squall.simulation.faults import Fault, Faults, Kind, draw_faults
from squall.simulation.nodes import Machine, Starts, Works
from squall.simulation.planning import Planning, Ties
from squall.simulation.policy import Policy, Seen, Squall
from squall.simulation.records import Record
from squall.simulation.serving import Answer, Outlets, Serving
from squall.simulation.traffic import Arrival

STORY = 25
TRY_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A function and the calls that come for it."""

    function: Function
    arrivals: tuple[Arrival, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A run: equal setups give equal runs.

    policy, line, disk, reader: made anew for the run. length_s: how long faults come. last_s: after how many seconds past the last
    call and fault a run is ended that does not end by itself.
    """

    played: tuple[Played, ...]
    nodes: tuple[Node, ...]
    seed: int = 0
    starts: Starts = Starts()
    faults: Faults = Faults()
    length_s: float = 0.0
    last_s: float = 7200.0
    policy: Callable[[], Policy] = Squall
    line: Callable[[], FunctionLine] = FunctionLine
    disk: Callable[[Clock], Disk] = Disk
    reader: Callable[[], Reader] = Reader


@dataclass(slots=True)
class Watch:
    """Who looks on: planned(seen, steps) is shown every plan, stepped(world) is called after each event."""

    planned: Callable[[Seen, tuple[Step, ...]], None] = lambda _seen, _steps: None
    stepped: Callable[[World], None] = lambda _world: None


@dataclass(slots=True)
class World:
    """Everything of a run, wired. `run` plays it.

    met: how often faults of each kind found something to go wrong. untrue: what a caller was told that is not on record.
    """

    setup: Setup
    watch: Watch = field(default_factory=Watch)
    clock: Clock = field(default_factory=Clock)
    callers: Callers = field(default_factory=Callers)
    story: deque[tuple[float, Timer]] = field(default_factory=lambda: deque(maxlen=STORY))
    rested: bool = False
    untrue: str = ""
    met: Counter[Kind] = field(default_factory=Counter)
    disk: Disk = field(init=False)
    durable: Durable = field(init=False)
    cluster: Cluster = field(init=False)
    policy: Policy = field(init=False)
    serving: Serving = field(init=False)
    planning: Planning = field(init=False)
    _pending: int = 0
    _calls: int = 0
    _dice: Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = Random(f"world/{self.setup.seed}")  # noqa: S311 - a made-up world keeps no secret
        self.cluster = Cluster(self.clock, self.setup.reader())
        self.policy = self.setup.policy()
        outlets = Outlets(
            lease=self.cluster.lease,
            answer=self._answer,
            wake=lambda: self.planning.wake(),
            note=self._note,
        )
        self.serving = Serving(self.clock, outlets)
        self.disk = self.setup.disk(self.clock)
        self.durable = Durable(self.clock, self.disk, self.serving, (self._accepted, self._answer))
        ties = Ties(
            nodes=self.cluster.nodes,
            tell=self.cluster.tell,
            make_way=self.cluster.make_way,
            planned=lambda seen, steps: self.watch.planned(seen, steps),
        )
        self.planning = Planning(self.clock, self.serving, self.policy, ties)
        self.cluster.serving, self.cluster.planning = self.serving, self.planning
        self._begin()

    def run(self) -> World:
        """Plays the run until all calls have ended and everything has gone that may go."""
        last_s = max([self.setup.length_s, *(a.at_s for p in self.setup.played for a in p.arrivals)])
        while self.clock.now_s < last_s + self.setup.last_s:
            timer = self.clock.step()
            if timer is None:
                break
            self.story.append((self.clock.now_s, timer))
            self.watch.stepped(self)
            if not self._pending and not self.callers.open and self._rests():
                self.rested = True
                break
        return self

    @property
    def machines(self) -> list[Machine]:
        """Every machine that there was."""
        return [link.machine for link in self.cluster.links.values()]

    # -- inside

    def _begin(self) -> None:
        for played in self.setup.played:
            self._know(played.function)
            for arrival in played.arrivals:
                self._pending += 1
                self.clock.at(arrival.at_s, self._call, played.function.id, arrival)
        for node in self.setup.nodes:
            self.cluster.join(self._machine(node))
        for fault in draw_faults(self.setup.faults, length_s=self.setup.length_s, seed=self.setup.seed):
            self._pending += 1
            self.clock.at(fault.at_s, self._go_wrong, fault)

    def _know(self, function: Function) -> None:
        self.serving.functions[function.id] = Record(function, self.setup.line())

    def _machine(self, node: Node) -> Link:
        works = Works(self.callers.work_s, self._raises)
        dice = Random(f"node/{self.setup.seed}/{node.id}")  # noqa: S311 - as above
        machine = Machine(node, self.clock, self.cluster.say, works, dice)
        machine.starts = self.setup.starts
        link = self.cluster.links[node.id] = Link(machine)
        return link

    def _raises(self, call: CallId, index: int, attempt: int) -> bool:
        share = self.setup.faults.raises
        if not share:
            return False
        return Random(f"{self.setup.seed}/{call}/{index}/{attempt}").random() < share  # noqa: S311 - as above

    def _note(self, record: Record) -> None:
        self.policy.note(record.function.id, record.line.waiting + record.line.leased, self.clock.now_s)

    def _call(self, function: FunctionId, arrival: Arrival) -> None:
        self._pending -= 1
        self._calls += 1
        call = self.callers.call(function, arrival, CallId(f"fc-{self._calls}"))
        if self.cluster.up:
            self._submit(call)

    def _submit(self, call: OpenCall) -> None:
        if not call.arrival.durable:
            self.serving.submit(call.function, call.id, call.runs())
        elif call.accepted:
            self._fetch(call)
        elif not self.durable.submit(call.id, call.function, len(call.answered)):
            # Refused: its caller knows, and tries again under the same id.
            self.clock.later(TRY_AGAIN_S, self._try_again, call)

    def _try_again(self, call: OpenCall) -> None:
        if self.cluster.up and not call.accepted:
            self._submit(call)

    def _fetch(self, call: OpenCall) -> None:
        """A caller whose call was accepted asks a new server what there is of it."""
        for start, stop, recorded in self.durable.outcomes(call.id):
            for low, high, answered in call.runs() if recorded else ():
                if not answered and max(low, start) < min(high, stop):
                    self._answer(Answer(call.id, max(low, start), min(high, stop)))

    def _accepted(self, name: CallId) -> None:
        call = self.callers.open.get(name)
        if call is not None:
            call.accepted = True
        if name not in self.disk.rows:
            self.untrue = f"{name} was accepted, and is not on record"

    def _answer(self, answer: Answer) -> None:
        if answer.call in self.serving.durable:
            row = self.disk.rows.get(answer.call)
            if row is None or not row.has(answer.start, answer.stop):
                self.untrue = f"outcomes of {answer.call} were told, and are not on record"
        self.callers.answer(answer, self.clock.now_s)

    def _rests(self) -> bool:
        """Whether nothing is left but what the owners want to be kept."""
        kept = sum(played.function.scaling.min_containers for played in self.setup.played)
        bodies = sum(len(machine.bodies) for machine in self.machines)
        return self.cluster.up and len(self.serving.workers) == bodies == kept

    # -- what goes wrong

    def _go_wrong(self, fault: Fault) -> None:
        self._pending -= 1
        links = [link for link in self.cluster.links.values() if link.here]
        link = links[int(fault.which * len(links))] if links else None
        self.met[fault.kind] += 1
        match fault.kind:
            case Kind.CONTAINER_KILLED:
                self._container_dies(ContainerEnd(cause="signal", signal=9), fault)
            case Kind.CONTAINER_EXITS:
                self._container_dies(ContainerEnd(cause="exit", code=1), fault)
            case Kind.NODE_JOINS:
                self._join_another(fault)
            case Kind.SERVER_RESTARTS:
                self._lose_server(fault)
            case Kind.NODE_DIES if link is not None:
                self.cluster.go_down(link, noticed=fault.lasts_s % 0.02 < 0.01)
                self._back_later(fault.lasts_s, self.cluster.come_up, link)
            case Kind.NODE_SILENT if link is not None:
                self.cluster.fall_silent(link)
                self._back_later(fault.lasts_s, self.cluster.answer_again, link)
            case Kind.START_FAILS if link is not None:
                link.machine.next_start_fails += 1 + int(fault.which * 4)
            case Kind.START_SLOW if link is not None:
                link.machine.next_start_slow_s = fault.lasts_s
            case Kind.DISK_REFUSES if not self.disk.refuses:
                self.disk.refuses = True
                self._later(fault.lasts_s, self._disk_takes_again)
            case _ if link is not None and link.passes:
                self._go_wrong_between(link, fault)
            case _:
                self.met[fault.kind] -= 1

    def _go_wrong_between(self, link: Link, fault: Fault) -> None:
        """What happens to a connection that works."""
        match fault.kind:
            case Kind.LINK_BREAKS:
                # Nothing comes through any more, and after a while that is noticed.
                self.cluster.fall_silent(link)
                self._back_later(min(0.5, fault.lasts_s), self._breaks, link)
            case Kind.AGENT_RESTARTS:
                self.cluster.break_off(link, heard=False)
                self._back_later(fault.lasts_s, self.cluster.join, link)
            case Kind.LINK_ONE_WAY:
                mute = fault.lasts_s % 0.02 < 0.01
                self.cluster.fall_silent(link, mute=mute, deaf=not mute)
                self._back_later(fault.lasts_s, self.cluster.answer_again, link)
            case Kind.LINK_SLOW:
                link.slow_s = 2.0 * (fault.which % 0.1) * 10
                self._back_later(fault.lasts_s, _is_quick_again, link)
            case Kind.NODE_STOPS:
                link.machine.stop()
                self.cluster.fall_silent(link)
                self._back_later(fault.lasts_s, self._goes_on, link)
            case _:
                self.met[fault.kind] -= 1

    def _breaks(self, link: Link) -> None:
        self.cluster.break_off(link, heard=self._dice.random() < 0.5)
        self.cluster.join(link)

    def _goes_on(self, link: Link) -> None:
        link.machine.go_on()
        self.cluster.answer_again(link)

    def _disk_takes_again(self) -> None:
        self.disk.refuses = False

    def _later(self, delay_s: float, what: Callable[[], None]) -> None:
        def now() -> None:
            self._pending -= 1
            what()

        self._pending += 1
        self.clock.later(delay_s, now)

    def _back_later(self, delay_s: float, what: Callable[[Link], None], link: Link) -> None:
        self._later(delay_s, lambda: what(link))

    def _container_dies(self, end: ContainerEnd, fault: Fault) -> None:
        alive = [(machine, name) for machine in self.machines for name, body in machine.bodies.items()
                 if body.ready and not machine.stopped]  # fmt: skip
        if not alive:
            self.met[fault.kind] -= 1
        else:
            machine, name = alive[int(fault.which * len(alive))]
            machine.die(name, end)

    def _join_another(self, fault: Fault) -> None:
        """A machine joins for a while, and leaves for good."""
        node = Node(
            id=NodeId(f"no-more-{len(self.cluster.links)}"),
            capacity=self.setup.nodes[0].capacity,
            cores=self.setup.nodes[0].cores,
        )
        link = self._machine(node)
        self.cluster.join(link)
        self._back_later(20 * fault.lasts_s, lambda gone: self.cluster.go_down(gone, noticed=True), link)

    def _lose_server(self, fault: Fault) -> None:
        if not self.cluster.up:
            self.met[fault.kind] -= 1
            return
        self.cluster.lose_server()
        self.durable.lose_server()
        self.planning.stop()
        self.serving.workers.clear()
        self.serving.durable.clear()
        for record in list(self.serving.functions.values()):
            self._know(record.function)
        self._pending += 1
        self.clock.later(fault.lasts_s, self._server_is_back)

    def _server_is_back(self) -> None:
        self._pending -= 1
        self.cluster.up = True
        self.planning.go_on()
        self.durable.resume()
        for call in list(self.callers.open.values()):
            self._submit(call)
        for link in self.cluster.links.values():
            self.clock.later(0.3 * self._dice.random(), self.cluster.join, link)


def _is_quick_again(link: Link) -> None:
    link.slow_s = 0.0


def function_of(name: str, *, scaling: Scaling | None = None, asks: Resources | None = None,
                retries: Retries | None = None) -> Function:  # fmt: skip
    """A function of a run; by default its containers ask for one core and 1 GiB."""
    return Function(
        id=FunctionId(f"fu-{name}"),
        app=AppId("ap-simulated"),
        name=name,
        code=Code(module="simulated", qualname=name),
        asks=asks or Resources(cpu_milli=1000, memory_mib=1024),
        scaling=scaling or Scaling(),
        retries=retries,
    )


def nodes_of(count: int, *, cores: int = 16) -> tuple[Node, ...]:
    """So many equal machines, with 4 GiB a core."""
    capacity = Resources(cpu_milli=1000 * cores, memory_mib=4096 * cores)
    return tuple(Node(id=NodeId(f"no-{n + 1}"), capacity=capacity, cores=cores) for n in range(count))
