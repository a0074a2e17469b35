"""Who shares and who gives way: functions take turns by what they hold, and idle containers go for who waits."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, strategies as st

from squall.model.function import Scaling
from squall.model.ids import ContainerId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.evict import RESTED_S
from squall.scheduling.plan import plan_capacity
from squall.scheduling.scale import Demand
from squall.scheduling.share import Machines, share_of
from squall.scheduling.view import ContainerView, FunctionView, Hold, Retire, StartOne, Step
from tests.property.test_scheduling import function_of

HERE = NodeId("no-1")
UNIT = Resources(cpu_milli=1000, memory_mib=1)


def machine(room: int) -> Node:
    """A node with room for so many containers."""
    return Node(id=HERE, cores=64, capacity=Resources(cpu_milli=1000 * room, memory_mib=10**6))


def view(
    name: str,
    *,
    waiting: int = 0,
    idle: tuple[float, ...] = (),
    busy: int = 0,
    retiring: int = 0,
    scaling: Scaling | None = None,
    asks: Resources = UNIT,
) -> FunctionView:
    """A function with waiting inputs, and containers that have been idle for so long, or work."""
    states: list[float | None] = [*idle, *[None] * (busy + retiring)]
    containers = tuple(
        ContainerView(
            id=ContainerId(f"co-{name}-{number}"),
            node=HERE,
            idle_s=idle_s,
            retiring=number >= len(states) - retiring,
        )
        for number, idle_s in enumerate(states)
    )
    alive = len(states) - retiring
    demand = Demand(waiting=waiting, leased=busy, containers=alive, oldest_wait_s=10.0, start_core_s=0.001)
    return FunctionView(
        function=function_of(name, asks=asks, scaling=scaling or Scaling(max_containers=1000)),
        demand=demand,
        containers=containers,
    )


def plan(room: int, *views: FunctionView) -> tuple[Step, ...]:
    used = Resources()
    for one in views:
        for _ in one.containers:
            used = used.plus(one.function.asks)
    return plan_capacity(views, (machine(room),), {HERE: used})


def starts(steps: tuple[Step, ...], one: FunctionView) -> int:
    return sum(isinstance(step, StartOne) and step.function == one.function.id for step in steps)


def gone(steps: tuple[Step, ...]) -> list[str]:
    return [step.container for step in steps if isinstance(step, Retire) and step.why == "room"]


@given(asks=st.builds(Resources, cpu_milli=st.integers(0, 10**6), memory_mib=st.integers(0, 10**6)))
def test_a_share_is_the_part_of_what_is_scarcest_and_half_of_it_for_twice_the_weight(asks: Resources) -> None:
    machines = Machines(cpu_milli=10**6, memory_mib=10**6)
    share = share_of(asks, machines)
    assert 0 < share <= 1
    assert share >= max(asks.cpu_milli, asks.memory_mib) / 10**6
    assert share_of(asks, machines, weight=2.0) == share / 2
    assert share_of(asks, Machines()) > 0, "no machine is there yet"


@given(holds=st.integers(0, 30), room=st.integers(1, 20))
def test_the_next_container_is_for_who_holds_least(holds: int, room: int) -> None:
    giant, small = view("giant", waiting=1000, busy=holds), view("small", waiting=1000)
    steps = plan(holds + room, giant, small)
    more = starts(steps, giant)
    assert more + starts(steps, small) == room
    assert starts(steps, small) <= holds + more + 1
    assert more == 0 or holds + more <= starts(steps, small) + 1, "who holds more got more"


@given(weight=st.integers(1, 5))
def test_who_weighs_more_gets_as_much_more(weight: int) -> None:
    one, other = view("a", waiting=1000), replace(view("b", waiting=1000), weight=float(weight))
    steps = plan(60, one, other)
    assert abs(starts(steps, other) - weight * starts(steps, one)) <= weight


@given(
    idle=st.lists(st.floats(RESTED_S, 50.0), min_size=1, max_size=8, unique=True),
    kept=st.integers(0, 3),
    waiting=st.integers(1, 10),
)
def test_idle_containers_go_for_who_waits_the_longest_idle_first_and_never_below_the_minimum(
    idle: list[float], kept: int, waiting: int
) -> None:
    rests = view("rests", idle=tuple(idle), scaling=Scaling(min_containers=kept, scaledown_window_s=60.0))
    wants = view("wants", waiting=waiting, scaling=Scaling(max_containers=1000))
    steps = plan(len(idle), rests, wants)
    going = gone(steps)
    assert len(going) == min(waiting, max(0, len(idle) - kept))
    longest = sorted(rests.containers, key=lambda one: -(one.idle_s or 0.0))
    assert going == [one.id for one in longest[: len(going)]]
    assert Hold(wants.function.id, "no_capacity") in steps


def test_nobody_goes_where_there_is_room_or_where_room_is_on_its_way() -> None:
    rests, wants = view("rests", idle=(30.0, 20.0)), view("wants", waiting=1)
    assert gone(plan(3, rests, wants)) == []
    assert gone(plan(3, rests, view("leaves", retiring=1), wants)) == [], "made twice"
    assert gone(plan(2, rests, wants)) == ["co-rests-0"]
    assert gone(plan(2, rests, view("wants", scaling=Scaling(min_containers=1)))) == [], "nobody waits"


def test_what_has_just_worked_goes_only_for_who_holds_less() -> None:
    fresh, wants = view("fresh", idle=(0.1,)), view("wants", waiting=5)
    assert gone(plan(1, fresh, wants)) == ["co-fresh-0"]
    giant = view("giant", waiting=5, busy=3)
    assert gone(plan(4, fresh, giant)) == []
    assert gone(plan(4, view("rested", idle=(RESTED_S,)), giant)) == ["co-rested-0"]


def test_a_small_function_gets_a_turn_of_a_giant_that_has_everything() -> None:
    """What works goes when it has done what it has in hand; and it does not come back for the giant in between."""
    giant, small = view("giant", waiting=1000, busy=10), view("small", waiting=1)
    steps = plan(10, giant, small)
    assert len(gone(steps)) == 1
    assert starts(steps, giant) == 0
    leaving = view("giant", waiting=1000, busy=9, retiring=1)
    assert gone(plan(10, leaving, small)) == []
    assert starts(plan(10, leaving, small), giant) == 0
    after = plan(10, view("giant", waiting=1000, busy=9), small)
    assert (starts(after, giant), starts(after, small)) == (0, 1)


def test_the_room_that_is_made_for_one_is_kept_from_who_holds_more() -> None:
    """The large one needs two places; one is free, and the giant would take it before the other is."""
    large = Resources(cpu_milli=2000, memory_mib=1)
    wants = view("wants", waiting=1, asks=large)
    first = plan(10, view("giant", waiting=1000, busy=9), wants)
    assert starts(first, view("giant")) == 0
    assert len(gone(first)) == 1
    second = plan(10, view("giant", waiting=1000, busy=8, retiring=1), wants)
    assert starts(second, view("giant")) == 0
    assert gone(second) == []
    assert starts(plan(10, view("giant", waiting=1000, busy=8), wants), wants) == 1


def test_functions_that_hold_alike_leave_each_other_alone() -> None:
    one, other = view("a", waiting=100, busy=5), view("b", waiting=100, busy=5)
    assert gone(plan(10, one, other)) == []
    assert gone(plan(11, view("a", waiting=100, busy=6), other)) == [], "it would only come back"


@given(asks=st.integers(1, 5), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_no_more_go_than_it_takes(asks: int, sizes: list[int]) -> None:
    idle = tuple(
        view(f"f{number}", idle=(30.0 + number,), asks=Resources(cpu_milli=1000 * size, memory_mib=1))
        for number, size in enumerate(sizes)
    )
    wants = view("wants", waiting=1, asks=Resources(cpu_milli=1000 * asks, memory_mib=1))
    going = gone(plan(sum(sizes), *idle, wants))
    taken = {one.containers[0].id: size for one, size in zip(idle, sizes, strict=True)}
    if sum(sizes) < asks:
        assert going == []
        return
    made = sum(taken[ContainerId(one)] for one in going)
    assert made >= asks
    assert all(made - taken[ContainerId(one)] < asks for one in going), "one went for nothing"


def test_buffers_stay_while_the_function_is_in_use_and_go_with_it() -> None:
    scaling = Scaling(buffer_containers=2, scaledown_window_s=10.0)
    in_use = view("f", idle=(3.0, 50.0, 50.0), scaling=scaling)
    assert plan(10, in_use) == ()
    over = view("f", idle=(10.0, 50.0, 50.0), scaling=scaling)
    assert len(plan(10, over)) == 3
