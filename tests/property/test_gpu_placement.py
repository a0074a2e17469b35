"""What placing gives to functions that ask for GPUs, whatever machines there are."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, strategies as st

from squall.model.function import Code, Function, Scaling
from squall.model.gpu import Gpus, added, covers, parse_gpus, rank_of, taken
from squall.model.ids import AppId, FunctionId, NodeId
from squall.model.node import GpuOut, Node
from squall.model.resources import Resources
from squall.scheduling.gpu_choice import choices, wishes
from squall.scheduling.plan import FunctionView, Hold, StartOne, Step, plan_capacity
from squall.scheduling.scale import Demand

KINDS = ["L4", "A100-40GB", "A100-80GB", "H100"]
parts = st.builds(Gpus, type=st.sampled_from(KINDS), count=st.integers(1, 4))
has = st.lists(parts, max_size=3).map(lambda found: added((), tuple(found)))
wish_lists = st.lists(
    st.builds(Gpus, type=st.sampled_from([*KINDS, "A100", "any", "T4"]), count=st.integers(1, 5)),
    min_size=1,
    max_size=3,
    unique=True,
).map(tuple)


def node(name: str, gpus: tuple[Gpus, ...]) -> Node:
    room = Resources(cpu_milli=10**6, memory_mib=10**6).with_gpus(*gpus)
    return Node(id=NodeId(name), capacity=room, cores=8, gpus=gpus)


def function(gpu: tuple[Gpus, ...], name: str = "f") -> Function:
    return Function(
        id=FunctionId(name),
        app=AppId("ap"),
        name=name,
        code=Code(module="m", qualname="f"),
        gpu=gpu,
        scaling=Scaling(max_containers=30),
    )


def view(gpu: tuple[Gpus, ...], waiting: int = 1, name: str = "f") -> FunctionView:
    return FunctionView(function=function(gpu, name), demand=Demand(waiting=waiting))


def planned(
    views: tuple[FunctionView, ...], nodes: tuple[Node, ...], used: dict[NodeId, Resources]
) -> tuple[tuple[Step, ...], dict[FunctionId, FunctionView]]:
    """The plan for functions that may have what these nodes have."""
    able = tuple(replace(one, wishes=wishes(one.function, nodes)) for one in views)
    return plan_capacity(able, nodes, used), {one.function.id: one for one in able}


def given_by(step: StartOne, views: dict[FunctionId, FunctionView]) -> Gpus | None:
    return views[step.function].choices[step.wish].gpus


machines = st.lists(has, min_size=1, max_size=3).map(
    lambda each: tuple(node(f"no-{number}", gpus) for number, gpus in enumerate(each))
)


@given(nodes=machines, first=wish_lists, second=wish_lists, waiting=st.integers(1, 12))
def test_no_machine_gives_more_devices_of_a_type_than_it_has_and_each_start_gets_what_was_asked_for(
    nodes: tuple[Node, ...], first: tuple[Gpus, ...], second: tuple[Gpus, ...], waiting: int
) -> None:
    asked = {"f": first, "g": second}
    views = (view(first, waiting), view(second, waiting, "g"))
    given: dict[NodeId, tuple[Gpus, ...]] = {}
    steps, able = planned(views, nodes, {})
    for step in steps:
        if isinstance(step, StartOne):
            gpus = given_by(step, able)
            assert gpus is not None
            assert any(
                covers(wish.type, gpus.type) and wish.count == gpus.count for wish in asked[step.function]
            )
            given[step.node] = added(given.get(step.node, ()), (gpus,))
    for one in nodes:
        there = {part.type: part.count for part in one.gpus}
        assert all(part.count <= there.get(part.type, 0) for part in given.get(one.id, ()))


@given(nodes=machines, wish=wish_lists)
def test_the_first_choice_that_some_machine_can_hold_is_taken_and_never_is_said_only_where_none_can(
    nodes: tuple[Node, ...], wish: tuple[Gpus, ...]
) -> None:
    able = [
        (number, rank_of(part.type), part.type)
        for number, one in enumerate(wish)
        for machine in nodes
        for part in machine.gpus
        if covers(one.type, part.type) and one.count <= part.count
    ]
    ((step,), views) = planned((view(wish),), nodes, {})
    match step:
        case StartOne():
            gpus = given_by(step, views)
            assert gpus is not None
            best = min(able)
            assert (gpus.type, gpus.count) == (best[2], wish[best[0]].count)
        case Hold(never=never, reason=reason, words=words):
            assert never
            assert not able
            assert reason == "no_capacity"
            assert str(wish[0]) in words


@given(gpus=has, wish=wish_lists)
def test_a_device_that_is_held_back_is_waited_for_and_not_given(
    gpus: tuple[Gpus, ...], wish: tuple[Gpus, ...]
) -> None:
    whole = node("no-1", gpus)
    out = tuple(
        GpuOut(id=f"{part.type}-{number}", type=part.type, why="it holds 3 MiB")
        for part in gpus
        for number in range(part.count)
    )
    held = replace(whole, gpus_out=out)
    ((step,), _) = planned((view(wish),), (held,), {held.id: held.out})
    assert isinstance(step, Hold)
    ((before,), _) = planned((view(wish),), (whole,), {})
    assert step.never == isinstance(before, Hold)
    if out:
        assert "it holds 3 MiB" in step.words


def test_two_functions_on_one_gpu_take_turns_and_the_second_is_told_what_it_waits_for() -> None:
    machine = node("no-1", (Gpus(type="H100"),))
    first, second = view(parse_gpus("H100")), view(parse_gpus("any"), name="g")
    (start, hold), views = planned((first, second), (machine,), {})
    assert isinstance(start, StartOne)
    assert (start.function, given_by(start, views)) == ("f", Gpus(type="H100"))
    assert hold == Hold(FunctionId("g"), "no_capacity", words="waits for a GPU (any): 0 of 1 H100 free")


def test_any_takes_the_least_that_is_free() -> None:
    machines = (node("no-1", (Gpus(type="H100"),)), node("no-2", (Gpus(type="L4"),)))
    ((step,), views) = planned((view(parse_gpus("any")),), machines, {})
    assert isinstance(step, StartOne)
    assert given_by(step, views) == Gpus(type="L4")


@given(nodes=machines)
def test_a_function_without_gpus_is_offered_none(nodes: tuple[Node, ...]) -> None:
    plain = function(())
    assert choices(plain, nodes) == (plain.asks,)


@given(left=has, right=has)
def test_what_was_added_can_be_taken_again(left: tuple[Gpus, ...], right: tuple[Gpus, ...]) -> None:
    assert taken(added(left, right), right) == left
