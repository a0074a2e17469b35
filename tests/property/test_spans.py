from __future__ import annotations

from itertools import pairwise

from hypothesis import given, strategies as st

from squall.state.spans import Span, holds, joined, runs, without

indexes = st.frozensets(st.integers(0, 40))


def inside(spans: list[Span]) -> set[int]:
    return {index for start, stop in spans for index in range(start, stop)}


@st.composite
def disjoint(draw: st.DrawFn) -> list[Span]:
    """Ascending runs without overlaps, some of which touch."""
    edges = sorted(draw(st.frozensets(st.integers(0, 40), max_size=12)))
    return [span for span in pairwise(edges) if draw(st.booleans())]


@given(indexes)
def test_runs_hold_their_indexes_and_no_others(held: frozenset[int]) -> None:
    found = list(runs(sorted(held)))
    assert inside(found) == held
    assert all(start < stop for start, stop in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    assert all(holds(found, index) == (index in held) for index in range(-1, 42))


@given(disjoint())
def test_joined_runs_are_the_same_and_do_not_touch(spans: list[Span]) -> None:
    found = list(joined(spans))
    assert inside(found) == inside(spans)
    assert all(before[1] < after[0] for before, after in pairwise(found))


@given(disjoint(), disjoint())
def test_what_is_left_is_the_difference(whole: list[Span], taken: list[Span]) -> None:
    left = list(without(whole, taken))
    assert inside(left) == inside(whole) - inside(taken)
    assert all(start < stop for start, stop in left)
    assert all(before[1] <= after[0] for before, after in pairwise(left))
