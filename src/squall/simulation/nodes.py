"""Nodes: made-up machines that start, run and lose containers as they are told, with the real node diff."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from squall.model.container import ContainerEnd, WantedContainer
from squall.model.ids import CallId, ContainerId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.inputs import Segment
from squall.scheduling.node_diff import Start, plan_node
from squall.simulation.clock import Clock, Timer
from squall.simulation.said import Back, Begun, Done, Ended, Ready, Said
from squall.simulation.sharing import Piece, Sharing

HOP_S = 0.0002
STOP_S = 0.005
POST_S = 0.005
"""Outcomes of shorter inputs travel together."""


class PoolPlan(Protocol):
    """How many sandboxes a machine keeps, as whoever starts containers there plans it."""

    def started(self, now_s: float) -> None:
        """A container was asked for."""

    def kept(self, now_s: float) -> int:
        """How many shall be there before anybody asks."""

    def is_calm(self, now_s: float) -> bool:
        """Whether nobody has asked for so long that more than those were let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """How long containers take to start, in seconds.

    pooled_s: with one of the `pool` sandboxes that a machine has prepared, or of as many as `plan` says. on_demand_s: without, where
    one is made first. One is made for every start, and whoever waits
    longest gets it; what nobody waits for fills up the pool.
    shared: whether all of this is work for the cores of the machine, which share it as `Sharing` says: it takes so long
    where it has a core for itself. left_s: work for the cores that each start brings besides, and that nobody waits for. spread: how
    much starts differ (0: not at all).
    """

    pooled_s: float = 0.5
    on_demand_s: float = 0.5
    pool: int = 0
    plan: Callable[[], PoolPlan] | None = None
    shared: bool = False
    left_s: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Works:
    """What inputs do: seconds(call, index) of one, and raises(call, index, attempt) whether its function raises."""

    seconds: Callable[[CallId, int], float]
    raises: Callable[[CallId, int, int], bool] = lambda _call, _index, _attempt: False


@dataclass(slots=True, eq=False)
class Body:
    """A container that is really there: what it has in hand, the first part of it being run from began_s on.

    sent: the number of its last message; kept: those that it would send again over a new connection.
    """

    wanted: WantedContainer
    began_s: float
    hand: deque[Segment] = field(default_factory=deque)
    running: Segment | None = None
    running_since_s: float = 0.0
    ready: bool = False
    stopping: bool = False
    timer: Timer | Piece | None = None
    sent: int = 0
    kept: list[tuple[int, Said]] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What a machine's containers have cost, in container seconds: being there, and working."""

    there_s: float = 0.0
    worked_s: float = 0.0


class Machine:
    """One machine. say: where it tells what happens on it, with the number of a container's message, 0 for others; everything
    on it happens on the clock.

    touched: a container has come since it was looked at last.
    """

    def __init__(
        self, node: Node, clock: Clock, say: Callable[[NodeId, Said, int], None], works: Works, dice: Random
    ) -> None:
        self.node = node
        self.bodies: dict[ContainerId, Body] = {}
        self.ended: set[ContainerId] = set()
        self.touched = False
        self.tally = Tally()
        self.starts = Starts()
        self.next_start_fails = 0
        self.next_start_slow_s = 0.0
        self._clock = clock
        self._say = say
        self._works = works
        self._dice = dice
        self._cores = Sharing(clock, node.cores)
        self._waiting: deque[Body] = deque()
        self._pooled: int | None = None
        self._plan: PoolPlan | None = None
        self._making = 0
        self._lives = 0
        self._due: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = None

    @property
    def stopped(self) -> bool:
        """Whether nothing happens on it."""
        return self._due is not None

    @property
    def used(self) -> Resources:
        """What the containers take that are not going."""
        total = Resources()
        for body in self.bodies.values():
            if not body.stopping:
                total = total.plus(body.wanted.function.asks)
        return total

    @property
    def crowded(self) -> bool:
        """Whether they take more than there is."""
        asks = [body.wanted.function.asks for body in self.bodies.values() if not body.stopping]
        capacity = self.node.capacity
        return (
            sum(one.cpu_milli for one in asks) > capacity.cpu_milli
            or sum(one.memory_mib for one in asks) > capacity.memory_mib
        )

    # -- what it is told

    def want(self, wanted: tuple[WantedContainer, ...]) -> None:
        """The whole set of containers that it shall run."""
        self.ended &= {container.id for container in wanted}
        present = frozenset(name for name, body in self.bodies.items() if not body.stopping)
        gone = frozenset(self.ended | self.bodies.keys())
        for step in plan_node(wanted, present, gone):
            if isinstance(step, Start):
                body = Body(step.wanted, self._clock.now_s)
                self.bodies[step.wanted.id] = body
                self.touched = True
                self._start(body)
                self._say(self.node.id, Begun(step.wanted.id), 0)
            else:
                self._stop(step.container)

    def give(self, container: ContainerId, segments: list[Segment], settled: int = 0) -> None:
        """A container is leased inputs; nothing happens if it is gone. settled: up to which number it need not keep its messages."""
        body = self.bodies.get(container)
        if body is not None:
            body.kept = [one for one in body.kept if one[0] > settled]
            body.hand.extend(segments)
            if body.running is None:
                self._run(body)

    def make_way(self, container: ContainerId) -> None:
        """A container gives back what it has not begun."""
        body = self.bodies.get(container)
        if body is None or body.running is None:
            return
        one = body.running
        rest = tuple(part for part in body.hand if part is not body.hand[0])
        head = body.hand[0]
        if head.stop > one.stop:
            rest = (Segment(head.call, one.stop, head.stop, head.attempt, head.alone), *rest)
        if rest:
            body.hand = deque([one])
            self._tell(body, Back(container, rest))

    def holding(self, container: ContainerId) -> list[Segment]:
        """What a container has in hand, as it would say itself."""
        return list(self.bodies[container].hand)

    # -- what goes wrong

    def die(self, container: ContainerId, end: ContainerEnd) -> None:
        """A container ends by itself, or by somebody's signal."""
        self._end(container, end)

    def lose_everything(self) -> None:
        """The machine goes down: what was on it is gone, and nobody says so."""
        for container in list(self.bodies):
            self._remove(container)
        self._cores.stop()
        self._due = None
        self._waiting.clear()
        self.ended.clear()
        self._pooled, self._making = None, 0
        self._lives += 1

    def stop(self) -> None:
        """Everything on it stands still; what would have happened meanwhile happens when it goes on."""
        self._due = self._due or []

    def go_on(self) -> None:
        """It was stopped, and is not any more."""
        due, self._due = self._due or [], None
        for callback, args in due:
            callback(*args)

    # -- inside

    def _stands_still(self, callback: Callable[..., None], *args: object) -> bool:
        if self._due is None:
            return False
        self._due.append((callback, args))
        return True

    def _tell(self, body: Body, said: Said) -> None:
        body.sent += 1
        body.kept.append((body.sent, said))
        self._say(self.node.id, said, body.sent)

    def _have_done(self, seconds: float, callback: Callable[..., object], *args: object) -> Timer | Piece:
        """Has something happen after so long, or when so much work for the cores is done."""
        begin = self._cores.begin if self.starts.shared else self._clock.later
        return begin(seconds, callback, *args)

    def _start(self, body: Body) -> None:
        now_s = self._clock.now_s
        if self._pooled is None:
            self._plan = self.starts.plan() if self.starts.plan is not None else None
            self._pooled = self._kept
        if self._plan is not None:
            if self._plan.is_calm(now_s):
                self._pooled = min(self._pooled, self._kept)
            self._plan.started(now_s)
        if self._pooled:
            self._pooled -= 1
            self._send_out(body)
        else:
            self._waiting.append(body)
        if self.starts.left_s:
            self._have_done(self._spread(self.starts.left_s), _nothing)
        make_s = max(0.0, self.starts.on_demand_s - self.starts.pooled_s)
        for _ in range(self._kept + len(self._waiting) - self._pooled - self._making):
            self._making += 1
            self._have_done(self._spread(make_s), self._made, self._lives)

    @property
    def _kept(self) -> int:
        """How many sandboxes shall be there before anybody asks."""
        return self.starts.pool if self._plan is None else self._plan.kept(self._clock.now_s)

    def _made(self, life: int) -> None:
        """One more sandbox is there: for who waits longest, else for the pool."""
        if life != self._lives or self._stands_still(self._made, life):
            return
        self._making -= 1
        while self._waiting:
            body = self._waiting.popleft()
            if self.bodies.get(body.wanted.id) is body and not body.stopping:
                self._send_out(body)
                return
        self._pooled = (self._pooled or 0) + 1

    def _send_out(self, body: Body) -> None:
        slow_s, self.next_start_slow_s = self.next_start_slow_s, 0.0
        body.timer = self._have_done(self._spread(self.starts.pooled_s) + slow_s, self._started, body)

    def _spread(self, seconds: float) -> float:
        spread = self.starts.spread
        return seconds * self._dice.lognormvariate(0.0, spread) if spread else seconds

    def _started(self, body: Body) -> None:
        if self._stands_still(self._started, body) or self.bodies.get(body.wanted.id) is not body:
            return
        if body.stopping:
            return
        if self.next_start_fails:
            self.next_start_fails -= 1
            self._end(body.wanted.id, ContainerEnd(cause="exit", code=1))
        else:
            body.ready = True
            self._tell(body, Ready(body.wanted.id))

    def _run(self, body: Body) -> None:
        """Runs the next inputs: one, or as many short ones as are told of together."""
        if not body.hand or body.stopping:
            return
        head = body.hand[0]
        stop, seconds = head.start, 0.0
        while stop < head.stop and (stop == head.start or seconds < POST_S):
            seconds += self._works.seconds(head.call, stop)
            stop += 1
            if self._works.raises(head.call, stop - 1, head.attempt):
                break
        body.running = Segment(head.call, head.start, stop, head.attempt, head.alone)
        body.running_since_s = self._clock.now_s
        body.timer = self._clock.later(seconds, self._done, body)

    def _done(self, body: Body) -> None:
        part = body.running
        if part is None or self._stands_still(self._done, body):
            return
        head = body.hand.popleft()
        if head.stop > part.stop:
            body.hand.appendleft(Segment(head.call, part.stop, head.stop, head.attempt, head.alone))
        seconds = self._clock.now_s - body.running_since_s
        self.tally.worked_s += seconds
        body.running = None
        self._tell_done(body, part, seconds)
        self._run(body)

    def _tell_done(self, body: Body, part: Segment, seconds: float) -> None:
        """The last of the inputs may have raised; it is told of by itself."""
        name, began_s, last = body.wanted.id, body.running_since_s, part.stop - 1
        if not self._works.raises(part.call, last, part.attempt):
            self._tell(body, Done(name, part, began_s, seconds))
            return
        took_s = self._works.seconds(part.call, last)
        if last > part.start:
            rest = Segment(part.call, part.start, last, part.attempt, part.alone)
            self._tell(body, Done(name, rest, began_s, max(0.0, seconds - took_s)))
        one = Segment(part.call, last, part.stop, part.attempt, part.alone)
        self._tell(body, Done(name, one, began_s + max(0.0, seconds - took_s), took_s, raised=True))

    def _stop(self, container: ContainerId) -> None:
        body = self.bodies[container]
        body.stopping = True
        self._forget_work(body)
        self._clock.later(STOP_S, self._end, container, ContainerEnd(cause="killed"))

    def _end(self, container: ContainerId, end: ContainerEnd) -> None:
        if container in self.bodies and not self._stands_still(self._end, container, end):
            self._remove(container)
            self.ended.add(container)
            self._say(self.node.id, Ended(container, end), 0)

    def _remove(self, container: ContainerId) -> None:
        body = self.bodies.pop(container)
        self._forget_work(body)
        self.tally.there_s += self._clock.now_s - body.began_s

    def _forget_work(self, body: Body) -> None:
        if body.timer is not None:
            body.timer.cancel()
        body.timer = None
        body.running = None


def _nothing() -> None:
    """What comes of work that nobody waits for."""
