"""When an input that raised, was lost or was refused runs again, and which input it is that ends its containers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from squall.model.container import ContainerEnd
from squall.model.errors import (
    ContainerExited,
    DiskFull,
    FunctionTimeout,
    InputLost,
    InputNotRunAgain,
    OutOfMemory,
    TooManyProcesses,
)
from squall.model.function import Retries
from squall.model.ids import CallId, ContainerId
from squall.scheduling.inputs import FunctionLine, Segment, singles
from squall.scheduling.loss import (
    End,
    Requeue,
    Suspect,
    describe_end,
    is_own_doing,
    plan_loss,
    plan_loss_of_all,
)
from squall.scheduling.refusal import retry_after_s
from squall.scheduling.retry import (
    MOST_LOSSES,
    delay_after_raise_s,
    runs_again_after_kill,
    runs_again_after_loss,
)

# -- retry


policies = st.builds(
    Retries,
    max_retries=st.integers(0, 10),
    backoff_coefficient=st.floats(1.0, 10.0),
    initial_delay=st.floats(0.0, 60.0),
    max_delay=st.floats(0.0, 60.0),
)


@given(policy=policies, raised=st.integers(1, 1000), one=st.text(max_size=40))
def test_delays_grow_up_to_their_bound_and_retries_end(policy: Retries, raised: int, one: str) -> None:
    delay = delay_after_raise_s(policy, raised=raised, of=one)
    assert (delay is None) == (raised > policy.max_retries)
    if delay is not None:
        assert 0 <= delay <= policy.max_delay
        assert delay >= min(policy.initial_delay, policy.max_delay)
        before = delay_after_raise_s(policy, raised=raised - 1, of=one) if raised > 1 else 0.0
        assert before is not None
        assert before <= delay
        assert delay == delay_after_raise_s(policy, raised=raised, of=one), "it was drawn"


def test_ten_thousand_that_fail_together_do_not_come_back_together() -> None:
    policy = Retries(max_retries=3, initial_delay=1.0, backoff_coefficient=2.0)
    delays = [delay_after_raise_s(policy, raised=2, of=f"fc-1:{index}") for index in range(10_000)]
    hundredths = Counter(int(100 * delay) for delay in delays if delay is not None)
    assert min(hundredths) >= 200
    assert max(hundredths) <= 250
    assert max(hundredths.values()) < 3 * 10_000 / 50, (
        "a hundredth of a second gets more than three times its share"
    )


def test_without_a_policy_nothing_is_tried_again() -> None:
    assert delay_after_raise_s(None, raised=1, of="fc-1:0") is None
    with pytest.raises(ValueError, match="from 1"):
        delay_after_raise_s(None, raised=0, of="fc-1:0")
    assert [runs_again_after_kill(kills=kills) for kills in (1, 2)] == [True, False]
    assert [runs_again_after_loss(losses=losses) for losses in (MOST_LOSSES, MOST_LOSSES + 1)] == [
        True,
        False,
    ]


# -- loss

ends = st.builds(
    ContainerEnd,
    cause=st.sampled_from(["exit", "signal", "oom", "pids", "disk", "killed"]),
    code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    memory_limit_bytes=st.none() | st.integers(0, 2**40),
    said=st.text(max_size=20),
)
suspects = st.builds(
    Suspect,
    kills=st.integers(0, 3),
    losses=st.integers(0, 12),
    items_sent=st.sampled_from([0, 0, 3]),
    timed_out_s=st.sampled_from([None, None, 1.0]),
)


@st.composite
def held(draw: st.DrawFn) -> list[Segment]:
    at, found = 0, []
    for _ in range(draw(st.integers(0, 5))):
        start = at + draw(st.integers(0, 3))
        at = start + draw(st.integers(1, 9))
        found.append(Segment(CallId(f"fc-{draw(st.integers(0, 2))}"), start, at, draw(st.integers(1, 3))))
    return found


def pieces(parts: list[Segment]) -> list[tuple[str, int, int]]:
    return [(part.call, index, part.attempt) for part in parts for index in range(part.start, part.stop)]


@given(lost=held(), end=ends, suspect=suspects)
def test_every_lost_input_runs_again_or_ends_and_only_the_one_that_ran_can_end(
    lost: list[Segment], end: ContainerEnd, suspect: Suspect
) -> None:
    steps = plan_loss(lost, end, suspect, function="f")
    assert pieces([step.part for step in steps]) == pieces(lost)
    for number, step in enumerate(steps):
        assert number == 0 or isinstance(step, Requeue), "an input that had not begun ended"
        assert not isinstance(step, End) or len(step.part) == 1


@given(lost=held().filter(bool), end=ends, kills=st.integers(0, 5), losses=st.integers(0, 12))
def test_the_three_kinds_are_never_mixed(
    lost: list[Segment], end: ContainerEnd, kills: int, losses: int
) -> None:
    first, *_ = plan_loss(lost, end, Suspect(kills=kills, losses=losses), function="f")
    other = plan_loss(
        lost, end, Suspect(kills=kills + 9 * (not is_own_doing(end)), losses=losses), function="f"
    )[0]
    assert type(first) is type(other), "what was lost is charged for what broke"
    if is_own_doing(end):
        assert isinstance(first, Requeue) == (kills <= 1)
        assert not isinstance(first, Requeue) or first.alone
        assert not isinstance(first, End) or type(first.error) is type(describe_end(end, function="f"))
        assert not isinstance(first, End) or not isinstance(first.error, InputLost)
    else:
        assert isinstance(first, Requeue) == (losses <= MOST_LOSSES)
        several_again = len(pieces(lost)) > 1 and any(part.attempt > 1 for part in lost)
        assert not isinstance(first, Requeue) or first.alone == several_again
        assert not isinstance(first, End) or isinstance(first.error, InputLost)


@given(
    count=st.integers(1, 40),
    poison=st.integers(0, 39),
    end=ends.filter(lambda end: end.cause != "killed"),
    ends_unsaid=st.integers(0, 40),
)
def test_the_input_that_ends_its_containers_is_found_and_no_other_is_given_up(
    count: int, poison: int, end: ContainerEnd, ends_unsaid: int
) -> None:
    line, call, crashes = FunctionLine(), CallId("fc-0"), 0
    line.submit(call, start=0, count=count, total=count)
    counted: dict[int, int] = {}
    gave_up: list[int] = []
    while not line.calls[call].done:
        box = ContainerId(f"co-{crashes}")
        lease = line.take(box, 64)
        assert lease is not None
        inputs = [one for part in lease.segments for one in singles(part)]
        crashed = [place for place, one in enumerate(inputs) if one.start == poison % count]
        # Of those that ended before it, the last ones were not told of.
        told = max(0, crashed[0] - ends_unsaid) if crashed else len(inputs)
        for one in inputs[:told]:
            assert list(line.finish(box, one))
        if not crashed:
            continue
        crashes += 1
        lost = line.held(box)
        first = lost[0].start
        counted[first] = counted.get(first, 0) + 1
        for step in reversed(plan_loss(lost, end, _counted(end, counted[first]), function="f")):
            if isinstance(step, End):
                gave_up += range(step.part.start, step.part.stop)
                assert list(line.finish(box, step.part))
            else:
                line.requeue(box, step.part, alone=step.alone)
    assert gave_up == [poison % count]
    assert crashes <= (3 if is_own_doing(end) else 2 + MOST_LOSSES + 1)


def _counted(end: ContainerEnd, times: int) -> Suspect:
    return Suspect(kills=times) if is_own_doing(end) else Suspect(losses=times)


@given(lost=held().filter(bool), end=ends, suspect=suspects)
def test_what_timed_out_ends_as_that_and_what_was_yielded_is_never_yielded_twice(
    lost: list[Segment], end: ContainerEnd, suspect: Suspect
) -> None:
    first, *_ = plan_loss(lost, end, suspect, function="f")
    if suspect.timed_out_s is not None:
        assert isinstance(first, End)
        assert isinstance(first.error, FunctionTimeout)
    elif suspect.items_sent:
        assert isinstance(first, End)
        assert isinstance(first.error, InputLost)


@given(lost=held(), end=ends, suspect=suspects)
def test_what_may_begin_once_never_runs_again(
    lost: list[Segment], end: ContainerEnd, suspect: Suspect
) -> None:
    steps = plan_loss(lost, end, suspect, function="f", at_most_once=True)
    assert pieces([step.part for step in steps]) == pieces(lost)
    for step in steps:
        assert isinstance(step, End)
        if suspect.timed_out_s is not None:
            assert isinstance(step.error, FunctionTimeout)
        elif is_own_doing(end):
            assert type(step.error) is type(describe_end(end, function="f"))
        else:
            assert isinstance(step.error, InputNotRunAgain)


@given(excess=st.integers(1, 10**9), mean_s=st.none() | st.floats(0, 1e6), containers=st.integers(0, 1000))
def test_who_is_refused_waits_longer_the_more_is_too_much_and_never_too_long(
    excess: int, mean_s: float | None, containers: int
) -> None:
    waits_s = retry_after_s(excess=excess, mean_s=mean_s, containers=containers)
    assert 0.1 <= waits_s <= 30
    assert waits_s <= retry_after_s(excess=excess * 2, mean_s=mean_s, containers=containers)


@given(end=ends)
def test_an_end_is_named_by_its_cause(end: ContainerEnd) -> None:
    named = {"oom": OutOfMemory, "pids": TooManyProcesses, "disk": DiskFull}
    error = describe_end(end, function="f")
    assert type(error) is named.get(end.cause, ContainerExited)
    assert "f" in error.message


# -- side by side


@given(st.integers(1, 12), st.data())
def test_of_inputs_side_by_side_only_the_one_that_ends_its_container_is_given_up(
    count: int, data: st.DataObject
) -> None:
    """A container takes all at once; afterwards each runs as its plan says, until nothing is left."""
    poison = data.draw(st.integers(0, count - 1))
    crash = ContainerEnd(cause="exit", code=3)
    kills: Counter[int] = Counter()
    given_up: list[int] = []
    rounds = [[Segment(CallId("fc"), index, index + 1) for index in range(count)]]
    while rounds:
        together = rounds.pop()
        if all(one.start != poison for one in together):
            continue
        for one in together:
            kills[one.start] += 1
        lost = [(one, Suspect(kills=kills[one.start])) for one in together]
        for step in plan_loss_of_all(lost, crash, function="f"):
            if isinstance(step, End):
                given_up.append(step.part.start)
                assert isinstance(step.error, ContainerExited)
            else:
                assert step.alone
                rounds.append([step.part])
    assert given_up == [poison]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_side_by_side_each_is_judged_by_its_own_count(kinds: list[tuple[bool, bool]]) -> None:
    """Of each: whether its time was up, and whether items of it are out."""
    lost = [
        (
            Segment(CallId("fc"), index, index + 1),
            Suspect(losses=1, timed_out_s=1.0 if late else None, items_sent=3 if yielded else 0),
        )
        for index, (late, yielded) in enumerate(kinds)
    ]
    steps = plan_loss_of_all(lost, ContainerEnd(cause="killed"), function="f")
    assert [step.part for step in steps] == [one for one, _ in lost]
    for step, (late, yielded) in zip(steps, kinds, strict=True):
        if late:
            assert isinstance(step, End)
            assert isinstance(step.error, FunctionTimeout)
        elif yielded:
            assert isinstance(step, End)
            assert isinstance(step.error, InputLost)
        else:
            assert isinstance(step, Requeue)
    for step in plan_loss_of_all(lost, ContainerEnd(cause="killed"), function="f", at_most_once=True):
        assert isinstance(step, End)
