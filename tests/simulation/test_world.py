"""The made-up world itself: time, traffic, machines, reports, pictures."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random
from xml.etree import ElementTree

import pytest

from squall.model.container import ContainerEnd, WantedContainer
from squall.model.ids import CallId, ContainerId, NodeId
from squall.scheduling.inputs import Segment
from squall.simulation.clock import Clock
from squall.simulation.compare import Case, play
from squall.simulation.faults import Faults, Kind, draw_faults
from squall.simulation.nodes import Machine, Starts, Works
from squall.simulation.picture import picture
from squall.simulation.report import percentile, total
from squall.simulation.run import function_of, nodes_of
from squall.simulation.said import Back, Begun, Done, Ended, Ready, Said
from squall.simulation.traffic import KINDS, MAP_INPUTS, Arrival, Load, arrivals, read_trace

ONE = WantedContainer(id=ContainerId("co-1"), function=function_of("f"))
TWO = WantedContainer(id=ContainerId("co-2"), function=function_of("f"))
THREE = WantedContainer(id=ContainerId("co-3"), function=function_of("f"))


def test_what_falls_on_one_instant_happens_in_the_order_in_which_it_was_asked_for() -> None:
    clock, seen = Clock(), list[str]()
    clock.later(2.0, seen.append, "late")
    clock.later(1.0, seen.append, "first")
    clock.at(1.0, seen.append, "second")
    clock.later(1.0, seen.append, "never").cancel()
    while clock.step():
        pass
    assert seen == ["first", "second", "late"]
    assert (clock.now_s, clock.steps) == (2.0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_traffic_follows_its_seed_and_keeps_to_its_time(kind: str) -> None:
    load = Load(length_s=3600.0)
    made = arrivals(kind, load, seed=4)
    assert made == arrivals(kind, load, seed=4)
    assert list(made) == sorted(made, key=lambda one: one.at_s)
    assert all(0 <= one.at_s < 3600 for one in made)
    works = [work for one in made for work in one.work_s]
    if len(works) > 1000:
        assert sum(works) / len(works) == pytest.approx(0.3, rel=0.1)
    if kind in {"steady", "bursty", "on-off", "diurnal"}:
        assert sum(works) / 3600 == pytest.approx(1.0, rel=0.2), "one input in work on average"
    if kind == "burst-map":
        assert {len(one.work_s) for one in made} == {MAP_INPUTS}


def test_bursty_gaps_are_four_times_as_spread_as_they_are_long() -> None:
    made = arrivals("bursty", Load(length_s=36_000.0), seed=1)
    gaps = [after.at_s - before.at_s for before, after in pairwise(made)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread / mean == pytest.approx(4.0, rel=0.15)


def test_a_trace_is_read_in_any_order_from_its_first_call_on() -> None:
    lines = ["arrival_s,duration_s,note", "12.5,0.3,x", "", "10,1"]
    assert read_trace(lines) == (
        Arrival(at_s=0.0, work_s=(1.0,)),
        Arrival(at_s=2.5, work_s=(0.3,)),
    )


@pytest.mark.parametrize("line", ["1", "1,x", "nan,1", "1,-1", "1,inf"])
def test_a_line_that_is_no_arrival_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 "):
        read_trace(["0,1", line])


def test_an_empty_trace_is_none() -> None:
    with pytest.raises(ValueError, match="no arrival"):
        read_trace(["arrival,duration"])


def test_faults_follow_their_seed() -> None:
    wild = Faults(per_minute=30.0)
    drawn = draw_faults(wild, length_s=600.0, seed=3)
    assert drawn == draw_faults(wild, length_s=600.0, seed=3)
    assert {fault.kind for fault in drawn} == set(Kind)
    assert not draw_faults(Faults(), length_s=600.0, seed=3)


class Site:
    """A machine whose words are kept."""

    def __init__(self, starts: Starts | None = None, *, cores: int = 16) -> None:
        self.clock = Clock()
        self.said: list[tuple[float, Said]] = []
        (node,) = nodes_of(1, cores=cores)
        works = Works(lambda _call, _index: 0.1)
        self.machine = Machine(node, self.clock, self._hear, works, Random(1))
        self.machine.starts = starts or Starts(pooled_s=1.0, on_demand_s=1.0)

    def _hear(self, _node: NodeId, said: Said, _number: int) -> None:
        self.said.append((self.clock.now_s, said))

    @property
    def took_s(self) -> float:
        """What a container says of an input's time, to the last bit."""
        return 1.1 - 1.0

    def until(self, instant_s: float) -> None:
        self.clock.at(instant_s, lambda: None)
        while self.clock.now_s < instant_s:
            self.clock.step()


def test_a_machine_starts_what_is_wanted_works_and_stops_what_is_not() -> None:
    site = Site()
    site.machine.want((ONE,))
    site.until(1.0)
    site.machine.give(ONE.id, [Segment(CallId("fc-1"), 0, 1)])
    site.until(1.2)
    site.machine.want(())
    site.until(2.0)
    assert [said for _, said in site.said] == [
        Begun(ONE.id),
        Ready(ONE.id),
        Done(ONE.id, Segment(CallId("fc-1"), 0, 1), 1.0, site.took_s),
        Ended(ONE.id, ContainerEnd(cause="killed")),
    ]
    assert site.machine.tally.there_s == pytest.approx(1.205)
    assert site.machine.tally.worked_s == pytest.approx(0.1)


def ready_of(site: Site) -> list[tuple[float, ContainerId]]:
    return [(at_s, said.container) for at_s, said in site.said if isinstance(said, Ready)]


def test_prepared_starts_are_faster_and_are_prepared_again() -> None:
    site = Site(Starts(pooled_s=0.5, on_demand_s=2.0, pool=1))
    site.machine.want((ONE, TWO))
    site.until(5.0)
    site.machine.want((ONE, TWO, THREE))
    site.until(10.0)
    assert ready_of(site) == [(0.5, ONE.id), (2.0, TWO.id), (5.5, THREE.id)]


def test_starts_that_share_two_cores_end_later_together_beside_what_is_prepared_again() -> None:
    site = Site(Starts(pooled_s=0.5, on_demand_s=2.0, pool=1, shared=True), cores=2)
    site.machine.want((ONE, TWO, THREE))
    site.until(10.0)
    # Four pieces get half a core each, until the shortest of them is done; then three get two thirds.
    refilled_s = 1.0 + (1.5 - 0.5) / (2 / 3)
    ready = ready_of(site)
    assert [name for _, name in ready] == [ONE.id, TWO.id, THREE.id]
    assert [at_s for at_s, _ in ready] == pytest.approx([1.0, refilled_s + 0.5, refilled_s + 0.5])


def many(count: int, first: int = 0) -> tuple[WantedContainer, ...]:
    return tuple(replace(ONE, id=ContainerId(f"co-many-{number}")) for number in range(first, first + count))


class Half:
    """Keeps one, and half as many as were asked for in the last ten seconds."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []

    def started(self, now_s: float) -> None:
        self.asked_s.append(now_s)

    def kept(self, now_s: float) -> int:
        return 1 + sum(now_s - asked_s < 10.0 for asked_s in self.asked_s) // 2

    def is_calm(self, now_s: float) -> bool:
        return self.kept(now_s) == 1


def at_once(site: Site, at_s: float) -> int:
    """How many of those wanted at that instant found a sandbox that was there."""
    return sum(ready_s == pytest.approx(at_s + 0.5) for ready_s, _ in ready_of(site))


def test_a_planned_pool_is_as_large_as_its_plan_says() -> None:
    site = Site(Starts(pooled_s=0.5, on_demand_s=1.0, plan=Half))
    site.machine.want(many(20))
    site.until(4.0)
    assert at_once(site, 0.0) == 1
    site.machine.want(many(40))
    site.until(6.0)
    assert at_once(site, 4.0) == 11
    site.until(30.0)
    site.machine.want(many(60))
    site.until(40.0)
    assert at_once(site, 30.0) == 1, "what nobody asked for was let go"


def test_a_start_that_is_not_wanted_any_more_leaves_its_share_to_the_others() -> None:
    site = Site(Starts(pooled_s=1.0, on_demand_s=1.0, shared=True), cores=1)
    site.machine.want((ONE, TWO))
    site.until(1.0)
    site.machine.want((ONE,))
    site.until(10.0)
    assert ready_of(site) == [(1.5, ONE.id)]


def test_who_waits_longest_gets_the_next_sandbox_that_is_made() -> None:
    site = Site(Starts(pooled_s=0.5, on_demand_s=2.0, pool=1))
    site.machine.want((ONE,))
    site.until(1.0)
    site.machine.want((ONE, TWO))
    site.until(1.2)
    site.machine.want((ONE, TWO, THREE))
    site.until(10.0)
    # What is made from 0.0 on in place of the first one is ready at 1.5; the next from 1.0 on, at 2.5.
    assert ready_of(site) == [(0.5, ONE.id), (2.0, TWO.id), (3.0, THREE.id)]


def test_what_is_made_for_one_that_is_not_wanted_any_more_is_for_the_next() -> None:
    site = Site(Starts(pooled_s=0.5, on_demand_s=2.0))
    site.machine.want((ONE,))
    site.until(0.25)
    site.machine.want((ONE, TWO))
    # It is going still when a sandbox is there.
    site.until(1.499)
    site.machine.want((TWO,))
    site.until(10.0)
    assert ready_of(site) == [(2.0, TWO.id)]


def test_what_was_being_made_on_a_machine_that_went_down_is_for_nobody() -> None:
    site = Site(Starts(pooled_s=0.5, on_demand_s=2.0))
    site.machine.want((ONE,))
    site.until(1.0)
    site.machine.lose_everything()
    site.machine.want((TWO,))
    site.until(10.0)
    assert ready_of(site) == [(3.0, TWO.id)]


def test_what_was_starting_on_a_machine_that_went_down_takes_nothing_of_it_any_more() -> None:
    site = Site(Starts(pooled_s=1.0, on_demand_s=2.0, pool=1, shared=True), cores=1)
    site.machine.want((ONE, TWO))
    site.until(0.5)
    site.machine.lose_everything()
    site.machine.starts = Starts(pooled_s=1.0, on_demand_s=1.0, shared=True)
    site.machine.want((THREE,))
    site.until(10.0)
    assert ready_of(site) == [(1.5, THREE.id)]


def test_a_container_that_makes_way_keeps_what_it_has_begun() -> None:
    site = Site()
    site.machine.want((ONE,))
    site.until(1.0)
    site.machine.give(ONE.id, [Segment(CallId("fc-1"), 0, 3), Segment(CallId("fc-2"), 0, 1)])
    site.machine.make_way(ONE.id)
    assert site.said[-1][1] == Back(ONE.id, (Segment(CallId("fc-1"), 1, 3), Segment(CallId("fc-2"), 0, 1)))
    site.until(2.0)
    assert [said for _, said in site.said if isinstance(said, Done)] == [
        Done(ONE.id, Segment(CallId("fc-1"), 0, 1), 1.0, site.took_s)
    ]


def test_a_report_counts_cold_inputs_once_and_averages_functions() -> None:
    busy = play(Case(kind="a", arrivals=(Arrival(at_s=0.0, work_s=(1.0,)),)), "squall").report
    calls = tuple(Arrival(at_s=float(second), work_s=(0.1,)) for second in range(4))
    calm = play(Case(kind="b", arrivals=calls), "squall").report
    assert (busy.cold, calm.cold) == (1.0, 0.25)
    both = total([busy, calm])
    assert both.cold_per_input == pytest.approx(2 / 5)
    assert both.cold_per_function == pytest.approx(0.625)
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([], 0.5) == 0.0


def test_the_picture_is_an_svg_with_a_panel_for_each_kind_and_a_point_for_each_row() -> None:
    rows = [
        play(Case(kind=kind, arrivals=(Arrival(at_s=0.0, work_s=(1.0,)),)).with_window(window_s), policy)
        for kind in ("rare <calls>", "maps")
        for policy in ("squall", "kpa")
        for window_s in (6.0, 60.0)
    ]
    root = ElementTree.fromstring(picture(rows, usual_s=60.0, below="one call"))
    texts = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert {"rare <calls>", "maps", "p99 wait", "idle seconds for each busy second"} <= set(texts)
    titles = [node.text for node in root.iter() if node.tag.endswith("title")]
    assert len([title for title in titles if title and "window" in title]) == len(rows)
