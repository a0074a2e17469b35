"""KPA: Knative's pod autoscaler re-implemented from its published rules and defaults, to be compared with.

What differs from a cluster, all of it in KPA's favour: requests wait in one line and go to whichever container is free
(as behind an activator that is always in the path); what is scaled down are idle containers first; a container that
goes finishes what it has in hand; nothing is spent on probes and on network programming unless network_s says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from squall.model.ids import FunctionId
from squall.model.resources import Resources
from squall.scheduling.place import Room
from squall.scheduling.view import FunctionView, Hold, Retire, StartOne, Step
from squall.simulation.policy import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaSettings:
    """The keys of Knative's `config-autoscaler`, with its defaults. Times in seconds.

    concurrency: what one container takes at once (containerConcurrency); 0: unlimited, of which default_target is
    aimed at. utilization: the share of it that is aimed at. grace_s bounds how long the last container waits for the
    network to be ready for zero, network_s is how long that takes, and retention_s how long it stays in any case.
    """

    stable_s: float = 60.0
    panic_share: float = 0.10
    panic_threshold: float = 2.0
    concurrency: int = 1
    default_target: float = 100.0
    utilization: float = 0.70
    tick_s: float = 2.0
    max_up: float = 1000.0
    max_down: float = 2.0
    grace_s: float = 30.0
    network_s: float = 0.0
    retention_s: float = 0.0

    @property
    def target(self) -> float:
        """How many requests at once a container shall have on average, at least a hundredth."""
        return max(0.01, (self.concurrency or self.default_target) * self.utilization)

    @property
    def panic_s(self) -> float:
        """The panic window: a share of the stable one, in whole seconds, at least one."""
        return max(1.0, float(round(self.stable_s * self.panic_share)))

    @property
    def last_goes_after_s(self) -> float:
        """How long the last container stays once zero is wanted."""
        return max(self.retention_s, min(self.network_s, self.grace_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic:
    """since_s: when the load was last over the threshold, None outside of panic; most: what panic has wanted at most."""

    since_s: float | None = None
    most: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Average requests in hand over the stable and the panic window, and containers that are ready."""

    stable: float
    panic: float
    ready: int


def decide(seen: Observed, panic: Panic, now_s: float, settings: KpaSettings) -> tuple[int, Panic]:
    """How many containers KPA wants, before the owner's bounds; and its panic from now on."""
    ready = max(1, seen.ready)
    most, least = math.ceil(settings.max_up * ready), math.floor(ready / settings.max_down)
    by_stable = math.ceil(seen.stable / settings.target)
    by_panic = math.ceil(seen.panic / settings.target)
    wanted = min(max(by_stable, least), most)
    if by_panic / ready >= settings.panic_threshold:
        panic = Panic(since_s=now_s, most=panic.most)
    elif panic.since_s is not None and now_s > panic.since_s + settings.stable_s:
        panic = Panic()
    if panic.since_s is None:
        return wanted, panic
    wanted = max(wanted, min(max(by_panic, least), most), panic.most)
    return wanted, Panic(since_s=panic.since_s, most=wanted)


@dataclass(slots=True)
class Concurrency:
    """How many requests were in hand, by the second, as containers and activator report it.

    A window is averaged over the seconds since the first report in it; the first report after a whole stable window
    of silence begins anew.
    """

    in_hand: int = 0
    since_s: float = 0.0
    first: int | None = None
    heard_s: float = -math.inf
    seconds: dict[int, float] = field(default_factory=dict)

    def note(self, in_hand: int, now_s: float) -> None:
        """So many are in hand from now on."""
        while self.in_hand and self.since_s < now_s:
            second = int(self.since_s)
            until = min(now_s, second + 1.0)
            self.seconds[second] = self.seconds.get(second, 0.0) + self.in_hand * (until - self.since_s)
            self.since_s = until
        self.since_s = now_s
        self.in_hand = in_hand

    def heard(self, now_s: float, *, stable_s: float) -> None:
        """Somebody reports at this instant."""
        if self.first is None or now_s - self.heard_s > stable_s:
            self.first = int(now_s)
        self.heard_s = now_s
        for second in [second for second in self.seconds if second < now_s - stable_s - 1]:
            del self.seconds[second]

    def average(self, window_s: float, now_s: float) -> float:
        """The mean over the last whole seconds. In the first one only the activator has reported, that one is there."""
        last = int(now_s)
        first = max(last - int(window_s), self.first if self.first is not None else last)
        if first >= last:
            return float(min(1, self.in_hand))
        return sum(self.seconds.get(second, 0.0) for second in range(first, last)) / (last - first)


@dataclass(slots=True)
class _Scaler:
    concurrency: Concurrency = field(default_factory=Concurrency)
    panic: Panic = field(default_factory=Panic)
    wanted: int = 0
    decided_s: float = -1.0
    zero_since_s: float | None = None


class Kpa:
    """The policy: a decision a function every tick, and at once when something comes for a function at zero."""

    name = "kpa"

    def __init__(self, settings: KpaSettings | None = None) -> None:
        self._settings = settings or KpaSettings()
        self._scalers: dict[FunctionId, _Scaler] = {}

    def note(self, function: FunctionId, in_hand: int, now_s: float) -> None:
        """See Policy."""
        self._of(function).concurrency.note(in_hand, now_s)

    def due_s(self, now_s: float) -> float:
        """See Policy: the next tick."""
        tick_s = self._settings.tick_s
        # An instant that was meant to be a tick's may come out a hair before it.
        return (math.floor(now_s / tick_s + 1e-9) + 1) * tick_s

    def plan(self, seen: Seen) -> tuple[Step, ...]:
        """See Policy."""
        steps: list[Step] = []
        room = Room(
            {node.id: node.capacity.minus(seen.used.get(node.id, Resources())) for node in seen.nodes}
        )
        for view in seen.functions:
            wanted, alive = self._wanted(view, seen.now_s), view.alive
            if wanted < len(alive):
                going = sorted(alive, key=lambda c: (c.idle_s is None, -(c.idle_s or 0.0), c.id))
                steps += [Retire(container.id) for container in going[: len(alive) - wanted]]
            steps += _starts(view, wanted - len(alive), room, nowhere=not seen.nodes)
        return tuple(steps)

    def _wanted(self, view: FunctionView, now_s: float) -> int:
        scaler, settings, scaling = self._of(view.function.id), self._settings, view.function.scaling
        in_hand = view.demand.waiting + view.demand.leased
        scaler.concurrency.note(in_hand, now_s)
        if in_hand or view.containers:
            scaler.concurrency.heard(now_s, stable_s=settings.stable_s)
        if in_hand and not scaler.wanted:
            # The activator reports the first request of a function at zero at once, as one.
            self._decide(scaler, view, now_s, Observed(stable=1.0, panic=1.0, ready=0))
        elif now_s >= self.due_s(scaler.decided_s):
            self._decide(scaler, view, now_s)
        ceiling = scaling.max_containers or math.inf
        bounded = int(max(scaling.min_containers, min(ceiling, scaler.wanted)))
        return max(bounded, self._last(scaler, bounded, view, now_s))

    def _decide(
        self, scaler: _Scaler, view: FunctionView, now_s: float, observed: Observed | None = None
    ) -> None:
        settings, demand, average = self._settings, view.demand, scaler.concurrency.average
        scaler.decided_s = now_s
        observed = observed or Observed(
            stable=average(settings.stable_s, now_s),
            panic=average(settings.panic_s, now_s),
            ready=demand.containers - demand.starting,
        )
        scaler.wanted, scaler.panic = decide(observed, scaler.panic, now_s, settings)

    def _last(self, scaler: _Scaler, bounded: int, view: FunctionView, now_s: float) -> int:
        """1 while the last container waits for zero, else 0."""
        if bounded or not view.containers:
            scaler.zero_since_s = None
            return 0
        if scaler.zero_since_s is None:
            scaler.zero_since_s = now_s
        return int(now_s < scaler.zero_since_s + self._settings.last_goes_after_s)

    def _of(self, function: FunctionId) -> _Scaler:
        return self._scalers.setdefault(function, _Scaler())


def _starts(view: FunctionView, missing: int, room: Room, *, nowhere: bool) -> list[Step]:
    steps: list[Step] = []
    for _ in range(missing):
        node = room.find(view.choices[0]) if not view.held_s else None
        if node is None:
            reason = "crash_backoff" if view.held_s else "no_node" if nowhere else "no_capacity"
            return [*steps, Hold(view.function.id, reason)]
        room.take(node, view.choices[0].asks)
        steps.append(StartOne(view.function.id, node))
    return steps
