"""What scheduling decides, whatever it is shown: how many, how much, where."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from squall.model.container import WantedContainer
from squall.model.function import Code, Function, Scaling
from squall.model.ids import AppId, ContainerId, FunctionId, NodeId
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.chunk import GROWTH, MOST, TARGET_S, Pace, chunk_size, may_prefetch
from squall.scheduling.node_diff import Start, Stop, plan_node
from squall.scheduling.place import Room, Wish
from squall.scheduling.plan import ContainerView, FunctionView, Hold, Retire, StartOne, plan_capacity
from squall.scheduling.scale import PLATFORM_MOST, Demand, desired_containers

counts = st.integers(0, 10_000)
means = st.none() | st.floats(0.0, 1e6)
amounts = st.builds(
    Resources,
    cpu_milli=st.integers(0, 4000),
    memory_mib=st.integers(0, 8192),
    gpus=st.integers(0, 2),
)


@st.composite
def scalings(draw: st.DrawFn) -> Scaling:
    low = draw(st.integers(0, 5))
    return Scaling(
        min_containers=low,
        max_containers=draw(st.none() | st.integers(max(1, low), 40)),
        buffer_containers=draw(st.integers(0, 5)),
        scaledown_window_s=draw(st.floats(2.0, 3600.0)),
    )


# -- chunk


@given(
    mean_s=means, last=st.integers(1, 2000), waiting=st.integers(1, 10**7), containers=st.integers(0, 1000)
)
def test_a_chunk_is_within_its_bounds(mean_s: float | None, last: int, waiting: int, containers: int) -> None:
    size = chunk_size(Pace(mean_s=mean_s, last_chunk=last), waiting=waiting, containers=containers)
    assert 1 <= size <= min(MOST, waiting)
    assert size <= last * GROWTH
    if mean_s is None:
        assert size == 1
    elif size > 1:
        assert size * mean_s <= TARGET_S * 1.001


@given(seconds=st.floats(allow_nan=True, allow_infinity=True), inputs=st.integers(-5, 5000))
def test_what_is_no_duration_leaves_the_pace_as_it_was(seconds: float, inputs: int) -> None:
    before = Pace(mean_s=0.001, last_chunk=4)
    after = before.seen(seconds=seconds, inputs=inputs)
    if inputs < 1 or not 0 <= seconds < float("inf"):
        assert after == before
    else:
        assert after.mean_s is not None
        assert 0 <= after.mean_s < float("inf")
        assert chunk_size(after, waiting=10, containers=1) >= 1


@given(each_s=st.floats(0.0, 10.0))
def test_the_pace_finds_the_mean_and_prefetching_follows_it(each_s: float) -> None:
    pace = Pace()
    assert not may_prefetch(pace)
    for _ in range(40):
        pace = pace.seen(seconds=each_s * 3, inputs=3)
    assert pace.mean_s is not None
    assert pace.mean_s == pytest.approx(each_s, rel=1e-6, abs=1e-12)
    assert may_prefetch(pace) == (pace.mean_s < TARGET_S / 4)


# -- scale


@given(
    waiting=counts,
    leased=counts,
    mean_s=means,
    oldest=st.floats(0.0, 1e6),
    containers=st.integers(0, 200),
    starting=st.integers(0, 200),
    scaling=scalings(),
    cores=st.integers(0, 64),
)
def test_containers_stay_within_the_owners_bounds(
    waiting: int,
    leased: int,
    mean_s: float | None,
    oldest: float,
    containers: int,
    starting: int,
    scaling: Scaling,
    cores: int,
) -> None:
    demand = Demand(
        waiting=waiting,
        leased=leased,
        mean_s=mean_s,
        oldest_wait_s=oldest,
        containers=containers,
        starting=min(starting, containers),
    )
    wanted = desired_containers(demand, scaling, cores=cores)
    ceiling = PLATFORM_MOST if scaling.max_containers is None else scaling.max_containers
    assert scaling.min_containers <= wanted <= max(ceiling, scaling.min_containers)
    if not waiting + leased:
        assert wanted == scaling.min_containers
    elif ceiling >= 1 and demand.containers == 0:
        assert wanted >= 1, "inputs are in hand and nobody works on them"


@given(waiting=st.integers(1, 1000), mean_s=means, containers=st.integers(0, 50), cores=st.integers(1, 64))
def test_demand_never_asks_for_more_containers_than_inputs(
    waiting: int, mean_s: float | None, containers: int, cores: int
) -> None:
    demand = Demand(waiting=waiting, mean_s=mean_s, containers=containers, oldest_wait_s=1e5)
    assert desired_containers(demand, Scaling(max_containers=10**6), cores=cores) <= waiting


# -- place


@given(asks=amounts, free=st.dictionaries(st.sampled_from([NodeId(f"no-{n}") for n in range(6)]), amounts))
def test_a_container_is_placed_where_it_fits_or_nowhere(
    asks: Resources, free: dict[NodeId, Resources]
) -> None:
    node = Room(free).find(Wish(asks=asks))
    fitting = [name for name, amount in free.items() if asks.fits_in(amount)]
    assert (node is None) == (not fitting)
    if node is not None:
        assert node in fitting
        assert Room(dict(reversed(free.items()))).find(Wish(asks=asks)) == node, (
            "the answer hangs on the order"
        )


# -- plan


@st.composite
def clusters(draw: st.DrawFn) -> tuple[tuple[FunctionView, ...], tuple[Node, ...], dict[NodeId, Resources]]:
    nodes = tuple(
        Node(
            id=NodeId(f"no-{number}"),
            cores=draw(st.integers(1, 16)),
            capacity=Resources(cpu_milli=draw(st.integers(0, 4000)), memory_mib=draw(st.integers(0, 8192))),
        )
        for number in range(draw(st.integers(0, 3)))
    )
    views: list[FunctionView] = []
    used: dict[NodeId, Resources] = {}
    for number in range(draw(st.integers(0, 4))):
        asks = Resources(cpu_milli=draw(st.integers(1, 1000)), memory_mib=draw(st.integers(1, 2048)))
        function = function_of(f"f{number}", asks=asks, scaling=draw(scalings()))
        containers: list[ContainerView] = []
        for place_in in range(draw(st.integers(0, 4)) if nodes else 0):
            node = draw(st.sampled_from(nodes)).id
            used[node] = used.get(node, Resources()).plus(asks)
            containers.append(
                ContainerView(
                    id=ContainerId(f"co-{number}-{place_in}"),
                    node=node,
                    idle_s=draw(st.none() | st.floats(0.0, 7200.0)),
                    retiring=draw(st.booleans()),
                )
            )
        alive = [container for container in containers if not container.retiring]
        busy = sum(container.idle_s is None for container in alive)
        demand = Demand(
            waiting=draw(st.integers(0, 50)),
            leased=busy,
            mean_s=draw(means),
            oldest_wait_s=draw(st.floats(0.0, 10.0)),
            containers=len(alive),
        )
        held = draw(st.sampled_from([0.0, 0.0, 1.5]))
        views.append(
            FunctionView(function=function, demand=demand, containers=tuple(containers), held_s=held)
        )
    return tuple(views), nodes, used


@given(cluster=clusters())
def test_a_plan_keeps_to_what_the_nodes_have_and_the_owners_want(
    cluster: tuple[tuple[FunctionView, ...], tuple[Node, ...], dict[NodeId, Resources]],
) -> None:
    views, nodes, used = cluster
    steps = plan_capacity(views, nodes, used)
    by_id = {view.function.id: view for view in views}
    free = {node.id: node.capacity.minus(used.get(node.id, Resources())) for node in nodes}
    for step in steps:
        if isinstance(step, StartOne):
            asks = by_id[step.function].function.asks
            assert asks.fits_in(free[step.node]), "more than the node has"
            free[step.node] = free[step.node].minus(asks)
            assert by_id[step.function].held_s == 0
    for view in views:
        alive = {container.id: container for container in view.containers if not container.retiring}
        starts = sum(isinstance(step, StartOne) and step.function == view.function.id for step in steps)
        going = {step.container for step in steps if isinstance(step, Retire)} & alive.keys()
        scaling = view.function.scaling
        ceiling = PLATFORM_MOST if scaling.max_containers is None else scaling.max_containers
        assert not starts or len(alive) + starts <= max(ceiling, scaling.min_containers)
        assert not (starts and going), "one comes while another goes"
        assert not going or len(alive) - len(going) >= scaling.min_containers
        idle = {step.container for step in steps if isinstance(step, Retire) and step.why == "idle"}
        assert all((alive[one].idle_s or 0.0) >= scaling.scaledown_window_s for one in going & idle)
    held = [step for step in steps if isinstance(step, Hold)]
    assert len({step.function for step in held}) == len(held), "a function is held once"


@given(cluster=clusters())
def test_a_plan_carried_out_is_stable(
    cluster: tuple[tuple[FunctionView, ...], tuple[Node, ...], dict[NodeId, Resources]],
) -> None:
    views, nodes, used = cluster
    for _round in range(120):
        steps = plan_capacity(views, nodes, used)
        if not any(isinstance(step, StartOne | Retire) for step in steps):
            return
        views, used = carry_out(views, used, steps)
    raise AssertionError("containers come and go for ever")


@given(waiting=st.lists(st.integers(1, 30), min_size=2, max_size=4), room=st.integers(2, 12))
def test_functions_take_turns_where_there_is_not_room_for_all(waiting: list[int], room: int) -> None:
    asks = Resources(cpu_milli=1000, memory_mib=1)
    node = Node(id=NodeId("no-1"), cores=64, capacity=Resources(cpu_milli=1000 * room, memory_mib=10**6))
    views = tuple(
        FunctionView(function=function_of(f"f{number}", asks=asks), demand=Demand(waiting=many))
        for number, many in enumerate(waiting)
    )
    steps = plan_capacity(views, (node,), {})
    got = [
        sum(isinstance(step, StartOne) and step.function == view.function.id for step in steps)
        for view in views
    ]
    assert sum(got) == min(room, sum(waiting))
    for mine, want in zip(got, waiting, strict=True):
        assert mine == want or mine >= max(got) - 1, "a large demand starves a small one"


def test_a_hold_says_whether_waiting_helps() -> None:
    node = Node(id=NodeId("no-1"), capacity=Resources(cpu_milli=1000, memory_mib=100))
    asks = Resources(cpu_milli=2000)
    view = FunctionView(function=function_of("f", asks=asks), demand=Demand(waiting=1))
    assert plan_capacity((view,), (), {}) == (Hold(view.function.id, "no_node"),)
    assert plan_capacity((view,), (node,), {}) == (Hold(view.function.id, "no_capacity", never=True),)
    full = {node.id: node.capacity}
    small = replace(view, function=replace(view.function, asks=Resources(cpu_milli=500)))
    assert plan_capacity((small,), (node,), full) == (Hold(view.function.id, "no_capacity"),)
    held = replace(small, held_s=0.5)
    assert plan_capacity((held,), (node,), {}) == (Hold(view.function.id, "crash_backoff"),)


# -- node diff

names = st.sets(st.sampled_from([ContainerId(f"co-{n}") for n in range(8)]))


@given(wanted=names, present=names, ended=names)
def test_a_node_reaches_what_was_wanted_and_then_has_nothing_to_do(
    wanted: set[ContainerId], present: set[ContainerId], ended: set[ContainerId]
) -> None:
    ended -= present
    function = function_of("f")
    shall = tuple(WantedContainer(id=name, function=function) for name in sorted(wanted))
    steps = plan_node(shall, frozenset(present), frozenset(ended))
    kinds = [type(step) for step in steps]
    assert kinds == sorted(kinds, key=[Stop, Start].index), "stops come first"
    after = set(present)
    for step in steps:
        if isinstance(step, Start):
            assert step.wanted.id not in after
            after.add(step.wanted.id)
        else:
            after.remove(step.container)
    assert after == wanted - ended
    assert plan_node(shall, frozenset(after), frozenset(ended)) == ()


# -- helpers


def function_of(name: str, *, asks: Resources | None = None, scaling: Scaling | None = None) -> Function:
    return Function(
        id=FunctionId(f"ap-1/{name}"),
        app=AppId("ap-1"),
        name=name,
        code=Code(module="m", qualname=name),
        asks=asks or Resources(cpu_milli=125, memory_mib=128),
        scaling=scaling or Scaling(),
    )


def carry_out(
    views: tuple[FunctionView, ...], used: dict[NodeId, Resources], steps: tuple[object, ...]
) -> tuple[tuple[FunctionView, ...], dict[NodeId, Resources]]:
    """The cluster after a plan: what was started is there and ready, what was let go is gone."""
    used = dict(used)
    changed: list[FunctionView] = []
    gone = {step.container for step in steps if isinstance(step, Retire)}
    for view in views:
        kept = [container for container in view.containers if container.id not in gone]
        for container in view.containers:
            if container.id in gone:
                used[container.node] = used[container.node].minus(view.function.asks)
        for step in steps:
            if isinstance(step, StartOne) and step.function == view.function.id:
                used[step.node] = used.get(step.node, Resources()).plus(view.function.asks)
                kept.append(
                    ContainerView(id=ContainerId(f"co-{view.function.name}-{len(kept)}-new"), node=step.node)
                )
        alive = [container for container in kept if not container.retiring]
        demand = replace(view.demand, containers=len(alive), starting=0)
        changed.append(replace(view, containers=tuple(kept), demand=demand))
    return tuple(changed), used
