"""Ids that come late: each may come once, whatever the order, and a peer that leaves out many costs no more than one."""

from __future__ import annotations

from hypothesis import given, strategies as st

from squall.wire.missed import _MOST_SPANS, Missed


@given(
    gaps=st.lists(st.integers(0, 40), max_size=30),
    order=st.randoms(use_true_random=False),
    parity=st.integers(0, 1),
)
def test_each_id_that_was_passed_over_may_come_once(gaps: list[int], order: object, parity: int) -> None:
    missed, model, at = Missed(), set[int](), parity
    for gap in gaps:
        if gap:
            missed.pass_over(at, at + 2 * gap - 2)
            model |= set(range(at, at + 2 * gap, 2))
        at += 2 * gap + 2
    everything = range(at + 3)
    waiting = sorted(model)
    getattr(order, "shuffle")(waiting)  # noqa: B009 - hypothesis gives no type for its dice
    for one in waiting:
        assert {number for number in everything if number in missed} == model
        missed.come(one)
        model.discard(one)
    assert not any(number in missed for number in everything)


def test_what_is_kept_is_bounded_and_the_oldest_is_forgotten() -> None:
    missed = Missed()
    missed.pass_over(1, 2**31 - 1)
    assert 2**30 + 1 in missed
    for number in range(_MOST_SPANS):
        missed.pass_over(2**31 + 4 * number + 1, 2**31 + 4 * number + 1)
    assert 1 not in missed
    assert 2**31 + 1 in missed
