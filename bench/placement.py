"""Placement: containers a second onto thousands of nodes, and how full they get, beside two plain ways to do it."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from measure import Bar, Samples, Turn, arguments, report_rounds, report_turn
from squall.model.function import Code, Function, Scaling
from squall.model.ids import AppId, FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.place import Near, Room, Wish
from squall.scheduling.plan import plan_capacity
from squall.scheduling.scale import Demand
from squall.scheduling.view import FunctionView

CONTENDERS = ("squall_index", "linear_best_fit", "sample_16")
UNITS = {
    "placements_per_s": "1/s",
    "churn_per_s": "1/s",
    "placed_percent": "%",
    "broken_nodes": "nodes",
    "plan_100_ms": "ms",
}
BARS = (
    Bar(metric="placements_per_s", factor=100, at_least=True, who="squall_index", theirs="linear_best_fit"),
    Bar(metric="placed_percent", factor=0.99, at_least=True, who="squall_index", theirs="linear_best_fit"),
)
AIMS = (Bar(metric="placements_per_s", factor=100_000, at_least=True, who="squall_index"),)
NODES = 10_000
GPUS = 8
WHOLE = Resources(cpu_milli=64_000, memory_mib=512_000, gpus=GPUS)
SIZES = (1, 1, 1, 1, 2, 2, 4, 8)

Free = dict[NodeId, Resources]
Find = Callable[[Resources], NodeId | None]


@dataclass(frozen=True, slots=True)
class Placer:
    """A way to find places: it is asked, and told what was taken and given back."""

    find: Find
    take: Callable[[NodeId, Resources], None]
    give: Callable[[NodeId, Resources], None]


def wishes(dice: random.Random, gpus: int) -> list[Resources]:
    """Containers that ask for so many GPUs together, each with its part of cores and memory, a little more or less."""
    found: list[Resources] = []
    while gpus > 0:
        size = dice.choice(SIZES)
        found.append(
            Resources(
                cpu_milli=size * dice.randint(4_000, 8_000),
                memory_mib=size * dice.randint(16_000, 64_000),
                gpus=size,
            )
        )
        gpus -= size
    return found


def index(free: Free) -> Placer:
    """The product's, with a template on a few nodes, as it is in use."""
    room, names = Room(free), list(free)
    near = Near(templates=frozenset(names[:4]), images=frozenset(names[: len(names) // 2]))
    return Placer(lambda asks: room.find(Wish(asks=asks), near), room.take, room.give)


def in_dict(free: Free, find: Find) -> Placer:
    """A way that keeps no index: what is free is all it has."""

    def take(node: NodeId, asks: Resources) -> None:
        free[node] = free[node].minus(asks)

    def give(node: NodeId, asks: Resources) -> None:
        free[node] = free[node].plus(asks)

    return Placer(find, take, give)


def linear(free: Free) -> Placer:
    """The fullest of all nodes that fit."""

    def find(asks: Resources) -> NodeId | None:
        fitting = [
            (amount.gpus, amount.cpu_milli, amount.memory_mib, node)
            for node, amount in free.items()
            if asks.fits_in(amount)
        ]
        return min(fitting)[3] if fitting else None

    return in_dict(free, find)


def sample(free: Free) -> Placer:
    """The fullest of sixteen that are drawn."""
    dice, names = random.Random(16), list(free)

    def find(asks: Resources) -> NodeId | None:
        fitting = [
            (free[node].gpus, free[node].cpu_milli, node)
            for node in dice.sample(names, 16)
            if asks.fits_in(free[node])
        ]
        return min(fitting)[2] if fitting else None

    return in_dict(free, find)


MAKERS: dict[str, Callable[[Free], Placer]] = {
    "squall_index": index,
    "linear_best_fit": linear,
    "sample_16": sample,
}


def cluster(nodes: int) -> Free:
    """So many empty machines."""
    return {NodeId(f"no-{number:05}"): WHOLE for number in range(nodes)}


def fill(placer: Placer, asked: list[Resources]) -> tuple[list[tuple[NodeId, Resources]], float]:
    """Where what was asked for went, as far as it did, and the seconds that took."""
    placed: list[tuple[NodeId, Resources]] = []
    started = time.process_time()
    for asks in asked:
        node = placer.find(asks)
        if node is not None:
            placer.take(node, asks)
            placed.append((node, asks))
    return placed, time.process_time() - started


def rates(who: str, *, nodes: int) -> Samples:
    """How many find a place in a second of CPU until a cluster is almost full, and how many come and go in it then."""
    dice, free = random.Random(7), cluster(nodes)
    placer = MAKERS[who](free)
    asked = wishes(dice, int(nodes * GPUS * 0.9))
    few = 600 if who == "linear_best_fit" else len(asked)
    placed, took_s = fill(placer, asked[:few])
    churned = min(few // 2, 20_000)
    started = time.process_time()
    for _ in range(churned):
        spot = dice.randrange(len(placed))
        node, asks = placed[spot]
        placer.give(node, asks)
        found = placer.find(asks)
        if found is not None:
            placer.take(found, asks)
            placed[spot] = (found, asks)
        else:
            placed[spot] = placed[-1]
            placed.pop()
    churn_s = time.process_time() - started
    return {"placements_per_s": [few / took_s], "churn_per_s": [churned / churn_s]}


def fullness(who: str, *, nodes: int, seed: int) -> Samples:
    """How much of what fits exactly is placed, and how many nodes are left with some of their GPUs and not all."""
    free = cluster(nodes)
    placed, _ = fill(MAKERS[who](free), wishes(random.Random(seed), nodes * GPUS))
    left = dict.fromkeys(free, GPUS)
    for node, asks in placed:
        left[node] -= asks.gpus
    whole = sum(asks.gpus for _, asks in placed)
    return {
        "placed_percent": [100 * whole / (nodes * GPUS)],
        "broken_nodes": [float(sum(0 < count < GPUS for count in left.values()))],
    }


def plans(repeats: int) -> Samples:
    """Milliseconds of one whole plan that starts 100 containers on three nodes, beside twenty other functions."""
    nodes = tuple(Node(id=name, capacity=WHOLE, cores=64) for name in cluster(3))

    def view(number: int, waiting: int) -> FunctionView:
        name = f"f{number}"
        function = Function(
            id=FunctionId(f"ap-1/{name}"),
            app=AppId("ap-1"),
            name=name,
            code=Code(module="m", qualname=name),
            scaling=Scaling(max_containers=100),
        )
        return FunctionView(
            function=function, demand=Demand(waiting=waiting, oldest_wait_s=9.0, start_core_s=0.001)
        )

    views = (view(0, 100), *(view(number, 0) for number in range(1, 21)))
    took: list[float] = []
    for _ in range(repeats):
        started = time.process_time()
        steps = plan_capacity(views, nodes, {})
        took.append((time.process_time() - started) * 1e3)
        assert len(steps) == 100
    return {"plan_100_ms": took}


def turn_of(who: str, *, quick: bool) -> Turn:
    """One contender's figures."""
    nodes = 1_000 if quick else NODES
    samples = rates(who, nodes=nodes)
    small = 200 if who == "linear_best_fit" else 1_000
    for seed in range(1 if quick else 3):
        for name, values in fullness(who, nodes=small, seed=seed).items():
            samples.setdefault(name, []).extend(values)
    if who == "squall_index":
        samples.update(plans(20 if quick else 200))
    note = f"{statistics.median(samples['placements_per_s']):.0f} placements a second on {nodes} nodes"
    return Turn(samples=samples, notes=(note,))


def main() -> None:
    """Runs the rounds and prints the figures."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        report_turn(turn_of(options.turn, quick=options.quick))
        return
    report_rounds(__file__, options, UNITS, reference="linear_best_fit", bars={"bar": BARS, "aim": AIMS})


if __name__ == "__main__":
    main()
