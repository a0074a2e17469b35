"""Compare: the same traffic under several policies, and under several windows of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from squall.model.function import Scaling
from squall.simulation.kpa import Kpa, KpaSettings
from squall.simulation.nodes import Starts
from squall.simulation.policy import Policy, Squall
from squall.simulation.report import Report, report
from squall.simulation.run import Played, Setup, Watch, World, function_of, nodes_of
from squall.simulation.traffic import Arrival

POLICIES = ("squall", "kpa")
FRONTIER_S = {
    "squall": (2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0),
    "kpa": (6.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0),
}
"""The windows of the frontier, from the shortest that each of them allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Traffic of one kind and the machines that it meets. scaling: the owner's bounds; its window is KPA's stable one."""

    kind: str
    arrivals: tuple[Arrival, ...]
    scaling: Scaling = Scaling()
    nodes: int = 4
    cores: int = 16
    starts: Starts = Starts()
    seed: int = 0

    def with_window(self, window_s: float) -> Case:
        """The same with another window."""
        return replace(self, scaling=replace(self.scaling, scaledown_window_s=window_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one policy made of one case, with which window."""

    kind: str
    policy: str
    window_s: float
    report: Report


def play(case: Case, policy: str, watch: Watch | None = None) -> Row:
    """One case under one of POLICIES. Raises KeyError for another name."""
    window_s = case.scaling.scaledown_window_s
    if policy not in POLICIES:
        raise KeyError(policy)
    function = function_of(case.kind, scaling=case.scaling)
    setup = Setup(
        played=(Played(function=function, arrivals=case.arrivals),),
        nodes=nodes_of(case.nodes, cores=case.cores),
        seed=case.seed,
        starts=case.starts,
        policy=lambda: _policy(policy, window_s),
    )
    world = World(setup, watch or Watch()).run()
    return Row(kind=case.kind, policy=policy, window_s=window_s, report=report(world, function.id))


def frontier(case: Case, policy: str) -> Iterator[Row]:
    """One case under one policy with each window of FRONTIER_S: what less waiting costs."""
    for window_s in FRONTIER_S[policy]:
        yield play(case.with_window(window_s), policy)


def _policy(name: str, window_s: float) -> Policy:
    return Kpa(KpaSettings(stable_s=window_s)) if name == "kpa" else Squall()
