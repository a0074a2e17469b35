"""Versions of one app, in every order of events: one serves, the newest that was ready, and nobody's call is dropped."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, strategies as st

from squall.model.deploy import VersionState
from squall.model.ids import AppId
from squall.scheduling.deploy import Decision, Forget, GiveUp, Stage, Switch, VersionView, plan_deploy

STATES = (VersionState.PREPARING, VersionState.SERVING, VersionState.DRAINING)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[VersionView, ...]:
    """Any versions, of which at most one serves."""
    count = draw(st.integers(0, 5))
    serving = draw(st.integers(-1, count - 1))
    found = []
    for place in range(count):
        state = draw(st.sampled_from((VersionState.PREPARING, VersionState.DRAINING)))
        prepared = draw(st.booleans())
        found.append(
            VersionView(
                app=AppId(f"ap-{place}"),
                number=place + 1,
                state=VersionState.SERVING if place == serving else state,
                recreate=draw(st.booleans()),
                prepared=prepared,
                ready=prepared and draw(st.booleans()),
                failed=draw(st.booleans()),
                in_hand=draw(st.integers(0, 2)),
                containers=draw(st.integers(0, 2)),
            )
        )
    return tuple(draw(st.permutations(found)))


def _serving(world: tuple[VersionView, ...]) -> VersionView | None:
    return next((one for one in world if one.state is VersionState.SERVING), None)


@given(worlds())
def test_only_what_is_ready_and_newer_takes_over(world: tuple[VersionView, ...]) -> None:
    decided, by, serving = plan_deploy(world), {one.app: one for one in world}, _serving(world)
    switches = [step.app for step in decided.steps if isinstance(step, Switch)]
    assert len(switches) <= 1
    for app in switches:
        one = by[app]
        assert one.state is VersionState.PREPARING
        assert one.ready
        assert not one.failed
        assert serving is None or one.number > serving.number
    for step in decided.steps:
        if isinstance(step, GiveUp):
            one = by[step.app]
            assert one.state is VersionState.PREPARING
            assert one.failed or (step.superseded and serving is not None and one.number < serving.number)


@given(worlds())
def test_nothing_is_forgotten_that_has_a_call_in_hand(world: tuple[VersionView, ...]) -> None:
    by = {one.app: one for one in world}
    for step in plan_deploy(world).steps:
        if isinstance(step, Forget):
            assert by[step.app].state is VersionState.DRAINING
            assert not by[step.app].in_hand


@given(worlds())
def test_what_serves_goes_on_in_its_own_bounds_unless_another_waits_for_it_to_go(
    world: tuple[VersionView, ...],
) -> None:
    decided, serving = plan_deploy(world), _serving(world)
    if serving is None:
        assert not decided.holds
        return
    waits = any(
        one.recreate and one.prepared and not one.failed and one.number > serving.number
        for one in world
        if one.state is VersionState.PREPARING
    )
    assert decided.holds == waits
    assert decided.stages[serving.app] is (Stage.LEAVING if waits else Stage.OWN)


@given(worlds())
def test_what_is_to_be_alone_is_tried_alone(world: tuple[VersionView, ...]) -> None:
    decided = plan_deploy(world)
    for one in world:
        if one.recreate and decided.stages[one.app] is Stage.TRIED:
            assert not any(other.containers or other.in_hand for other in world if other is not one)


def _apply(world: dict[AppId, VersionView], decided: Decision) -> None:
    """What the decision has come to be, a moment later."""
    for step in decided.steps:
        match step:
            case Switch(app=app):
                for name, one in world.items():
                    if one.state is VersionState.SERVING:
                        world[name] = replace(one, state=VersionState.DRAINING)
                world[app] = replace(world[app], state=VersionState.SERVING)
            case GiveUp(app=app) | Forget(app=app):
                del world[app]
    for name, one in list(world.items()):
        match decided.stages.get(name):
            case Stage.TRIED:
                world[name] = replace(one, containers=1)
            case Stage.LEAVING if not one.in_hand:
                world[name] = replace(one, containers=0, ready=False)


_EVENT = st.tuples(st.integers(1, 6), st.sampled_from(["prepared", "ready", "failed", "calls", "ended"]))


@given(st.lists(_EVENT, max_size=40), st.lists(st.booleans(), min_size=6, max_size=6), st.data())
def test_in_the_end_the_newest_version_that_could_be_ready_serves_alone(
    events: list[tuple[int, str]], recreates: list[bool], data: st.DataObject
) -> None:
    world: dict[AppId, VersionView] = {}
    broken = {number for number in range(1, 7) if data.draw(st.booleans())}
    deployed, served = 0, 0
    for number, event in [*events, *[(number, event) for event in ("prepared", "ready", "ended", "ended", "ready", "ready") for number in range(1, 7)] * 3]:  # fmt: skip
        if number == deployed + 1:
            deployed = number
            name = AppId(f"ap-{number}")
            world[name] = VersionView(
                app=name, number=number, state=VersionState.PREPARING, recreate=recreates[number - 1]
            )
        name = AppId(f"ap-{number}")
        if name in world:
            world[name] = _happens(world[name], event, broken=number in broken)
        decided = plan_deploy(tuple(world.values()))
        assert all(world[step.app].number not in broken for step in decided.steps if isinstance(step, Switch))
        _apply(world, decided)
        now = [one.number for one in world.values() if one.state is VersionState.SERVING]
        assert len(now) <= 1
        assert not now or now[0] >= served
        served = max([served, *now])
    for _ in range(3):
        _apply(world, plan_deploy(tuple(world.values())))
    good = [number for number in range(1, deployed + 1) if number not in broken]
    assert [one.number for one in world.values()] == ([max(good)] if good else [])


def _happens(one: VersionView, event: str, *, broken: bool) -> VersionView:
    tried = one.state is VersionState.PREPARING and one.containers
    match event:
        case "prepared":
            return replace(one, prepared=True)
        case "ready" if tried:
            return replace(one, failed=True) if broken else replace(one, ready=True)
        case "failed" if tried and broken:
            return replace(one, failed=True)
        case "calls" if one.state is VersionState.SERVING:
            return replace(one, in_hand=one.in_hand + 1, containers=max(1, one.containers))
        case "ended":
            return replace(one, in_hand=0)
        case _:
            return one
