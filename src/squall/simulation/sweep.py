"""Sweep: many small runs, each drawn from its seed with everything that may go wrong, each invariant checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from squall.model.function import Function, Retries, Scaling
from squall.model.ids import NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.inputs import FunctionLine
from squall.simulation.again import Reader
from squall.simulation.clock import Clock
from squall.simulation.disk import Disk
from squall.simulation.faults import Faults, Kind
from squall.simulation.invariants import BrokenError, check_end, check_plan, check_step
from squall.simulation.nodes import Starts
from squall.simulation.policy import Planner, Squall, plan_as_the_server_does
from squall.simulation.run import Played, Setup, Watch, World, function_of
from squall.simulation.traffic import Arrival

LEAST_EVENTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A seed under which something does not hold: what, after how many events, and what happened before."""

    seed: int
    what: str
    told: str
    events: int
    story: tuple[str, ...]

    def __str__(self) -> str:
        before = "\n".join(f"  {line}" for line in self.story)
        return f"seed {self.seed}, after {self.events} events: {self.told}\n{before}"


@dataclass(frozen=True, slots=True)
class Ran:
    """How one seed ended: events, and what was found, None where everything held. met: the faults that found something to go wrong."""

    events: int
    found: Found | None = None
    met: Mapping[Kind, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What is put to the test: ours, unless a test plants something else."""

    planner: Planner = plan_as_the_server_does
    line: Callable[[], FunctionLine] = FunctionLine
    disk: Callable[[Clock], Disk] = Disk
    reader: Callable[[], Reader] = Reader


OURS = Tested()


def run_seed(seed: int, tested: Tested = OURS) -> Ran:
    """Plays one seed and checks every invariant after every event."""
    world = World(setup_of(seed, tested), Watch(planned=check_plan, stepped=check_step))
    try:
        world.run()
        check_end(world)
    except BrokenError as broken:
        story = tuple(f"{at_s:10.4f} {_told(timer)}" for at_s, timer in world.story)
        return Ran(world.clock.steps, Found(
            seed=seed, what=broken.what, told=str(broken), events=world.clock.steps, story=story
        ), world.met)  # fmt: skip
    return Ran(world.clock.steps, met=world.met)


def setup_of(seed: int, tested: Tested = OURS) -> Setup:
    """The run that a seed stands for: 1 to 3 functions, 1 to 4 machines, some 10 to 70 inputs, and faults."""
    dice = Random(f"sweep/{seed}")  # noqa: S311 - made-up runs keep no secret
    length_s = dice.choice((3.0, 10.0, 40.0))
    nodes = tuple(
        Node(
            id=NodeId(f"no-{number}"),
            capacity=Resources(cpu_milli=1000 * (cores := dice.choice((1, 2, 4))), memory_mib=2048 * cores),
            cores=cores,
        )
        for number in range(dice.randint(1, 4))
    )
    keeps = dice.random() < 0.4
    functions = [_function(dice, f"f{number}", keeps=keeps) for number in range(dice.randint(1, 3))]
    return Setup(
        played=tuple(Played(function=one, arrivals=_arrivals(dice, length_s)) for one in functions),
        nodes=nodes,
        seed=seed,
        starts=_starts(dice),
        faults=_faults(dice, length_s),
        length_s=length_s,
        last_s=1500.0,
        policy=lambda: Squall(tested.planner),
        line=tested.line,
        disk=tested.disk,
        reader=tested.reader,
    )


def _function(dice: Random, name: str, *, keeps: bool) -> Function:
    """keeps: whether functions may have min_containers; what is kept always leaves room for one more of each then."""
    least = dice.choice((0, 1, 2)) if keeps else 0
    cpu_milli = 125 if least else dice.choice((125, 250) if keeps else (125, 250, 500, 1000))
    scaling = Scaling(
        min_containers=least,
        max_containers=dice.choice((None, None, 1 + least, 3 + least, 8)),
        buffer_containers=dice.choice((0, 0, 1, 2)),
        scaledown_window_s=dice.choice((2.0, 3.0, 10.0)),
    )
    asks = Resources(cpu_milli=cpu_milli, memory_mib=128 if keeps else dice.choice((128, 512)))
    retries = dice.choice((None, None, Retries(max_retries=2, initial_delay=0.5)))
    return function_of(name, scaling=scaling, asks=asks, retries=retries)


def _arrivals(dice: Random, length_s: float) -> tuple[Arrival, ...]:
    """Single calls and maps, of works that differ a thousandfold between functions and some within one."""
    mean_s = dice.choice((0.0005, 0.005, 0.05, 0.2, 0.8))
    found: list[Arrival] = []
    durable = dice.choice((0.0, 0.3, 1.0))
    for _ in range(dice.randint(5, 12)):
        inputs = dice.choice((1, 1, 1, 1, 1, 3, 12))
        at_s = length_s * dice.random() ** dice.choice((1, 4))
        work_s = tuple(min(2.0, mean_s * dice.lognormvariate(0.0, 1.0)) for _ in range(inputs))
        found.append(Arrival(at_s=at_s, work_s=work_s, durable=dice.random() < durable))
    return tuple(sorted(found, key=lambda arrival: arrival.at_s))


def _starts(dice: Random) -> Starts:
    quick_s = dice.choice((0.005, 0.05, 0.3, 1.5))
    return Starts(
        pooled_s=quick_s,
        on_demand_s=2 * quick_s,
        pool=dice.choice((0, 2, 8)),
        shared=dice.choice((False, False, True, True)),
        spread=dice.choice((0.0, 0.5)),
    )


def _faults(dice: Random, length_s: float) -> Faults:
    """None in a fifth of the runs; else up to some eight, of all kinds or of two."""
    if dice.random() < 0.2:
        return Faults()
    kinds = tuple(Kind) if dice.random() < 0.5 else tuple(dice.sample(tuple(Kind), 2))
    per_minute = dice.choice((1.0, 3.0, 8.0)) * 60 / length_s
    return Faults(per_minute=per_minute, kinds=kinds, raises=dice.choice((0.0, 0.0, 0.1)))


def _told(timer: object) -> str:
    callback, args = getattr(timer, "callback", None), getattr(timer, "args", ())
    name = getattr(callback, "__qualname__", str(callback))
    return f"{name}({', '.join(_short(arg) for arg in args)})"


def _short(value: object) -> str:
    text = str(getattr(value, "id", "") or value)
    return text if len(text) <= 120 else f"{text[:117]}..."
