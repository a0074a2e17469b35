"""The replay bench: its trace, what it tells the simulation, and when two figures agree."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

import replay
from squall.model.container import WantedContainer
from squall.model.ids import ContainerId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.simulation.clock import Clock
from squall.simulation.nodes import Machine, Works
from squall.simulation.run import function_of
from squall.simulation.said import Ready, Said


def test_the_trace_follows_its_seed_and_holds_bursts_of_short_works() -> None:
    calls = replay.trace_of(30.0, 1)
    assert calls == replay.trace_of(30.0, 1)
    assert calls != replay.trace_of(30.0, 2)
    assert list(calls) == sorted(calls, key=lambda call: call.at_s)
    assert all(0.05 <= call.work_s[0] <= 0.30 for call in calls)
    assert len(calls) > 20


def measured(*, burst_s: float, cores: int = 2) -> replay.Measured:
    return replay.Measured(
        starts_s=(0.02, 0.022, 0.018), bursts_s=(0.0, burst_s, 9.0), way_s=0.0, cores=cores
    )


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_a_burst_takes_in_the_simulation_what_it_took_in_truth(cores: int) -> None:
    told = measured(burst_s=0.4, cores=cores)
    clock = Clock()
    node = Node(id=NodeId("no-1"), cores=cores, capacity=Resources())
    said = list[tuple[float, Said]]()
    works = Works(lambda _call, _index: 0.3)
    machine = Machine(node, clock, lambda _node, one: said.append((clock.now_s, one)), works, Random(1))
    machine.starts = replace(told.starts, spread=0.0)
    names = [ContainerId(f"co-{number}") for number in range(replay.MOST)]
    machine.want(tuple(WantedContainer(id=name, function=function_of("f")) for name in names))
    while clock.step():
        pass
    ready_s = [at_s for at_s, one in said if isinstance(one, Ready)]
    assert len(ready_s) == replay.MOST
    assert max(ready_s) == pytest.approx(0.4)
    assert sum(at_s < 0.4 - 1e-9 for at_s in ready_s) == replay.MADE_AHEAD < replay.MOST


def test_a_burst_that_is_quick_has_its_starts_take_what_one_alone_takes() -> None:
    starts = measured(burst_s=0.05).starts
    assert starts.on_demand_s == starts.pooled_s == pytest.approx(0.02)


def test_figures_agree_within_their_share_and_where_they_are_next_to_nothing() -> None:
    assert replay.off_by(1.0, 1.2) == pytest.approx(0.2)
    assert replay.off_by(0.001, 0.009) == 0.0
    assert replay.off_by(0.0, 0.05) == pytest.approx(5.0)


def test_the_simulation_of_the_trace_gives_waits_of_at_least_the_way() -> None:
    told = replay.Measured(starts_s=(0.1, 0.1, 0.1), bursts_s=(0.8,), way_s=0.002, cores=2)
    found = replay.simulated(replay.trace_of(20.0, 1), told)
    assert 0.002 <= found.p50_wait_s <= found.p90_wait_s <= found.p99_wait_s < 1.0
    assert found.container_s > 3.0
