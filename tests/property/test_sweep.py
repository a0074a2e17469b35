from __future__ import annotations

from hypothesis import given, strategies as st

from squall.blobs.sweep import Copy, evicted, room_for

instants = st.floats(0, 1_000_000)
copies = st.lists(
    st.builds(
        lambda key, size, used_s: Copy(key=key, size=size, used_s=used_s),
        st.sampled_from("abcdefgh"),
        st.integers(0, 100),
        instants,
    ),
    max_size=8,
    unique_by=lambda copy: copy.key,
)


@given(copies, st.frozensets(st.sampled_from("abcdefgh")), st.integers(0, 400))
def test_the_cache_fits_or_only_what_is_in_use_is_left(
    held: list[Copy], in_use: frozenset[str], budget: int
) -> None:
    going = evicted(held, in_use=in_use, budget_bytes=budget)
    left = [copy for copy in held if copy.key not in going]
    assert not in_use & set(going)
    assert sum(copy.size for copy in left) <= budget or {copy.key for copy in left} <= in_use
    # The longest unused go first, and none goes in vain.
    gone = [copy for copy in held if copy.key in going]
    others = [copy for copy in left if copy.key not in in_use]
    assert all(one.used_s <= other.used_s for one in gone for other in others)
    if gone:
        last = max(gone, key=lambda copy: (copy.used_s, copy.key))
        assert sum(copy.size for copy in left) + last.size > budget


@given(st.integers(0, 300), copies, st.frozensets(st.sampled_from("abcdefgh")), st.integers(0, 400))
def test_room_is_made_where_it_can_be_and_nothing_goes_in_vain(
    coming: int, held: list[Copy], in_use: frozenset[str], budget: int
) -> None:
    going = room_for(coming, held, in_use=in_use, budget_bytes=budget)
    total = sum(copy.size for copy in held)
    staying = sum(copy.size for copy in held if copy.key in in_use)
    assert (going is None) == (staying + coming > budget and total + coming > budget)
    if going is None:
        return
    left = [copy for copy in held if copy.key not in going]
    assert not in_use & set(going)
    assert sum(copy.size for copy in left) + coming <= budget
    assert bool(going) <= (total + coming > budget)
    gone = [copy for copy in held if copy.key in going]
    assert all(one.used_s <= other.used_s for one in gone for other in left if other.key not in in_use)
    if gone:
        # Without the last of them, less than a tenth of the budget would be free for the next.
        last = max(gone, key=lambda copy: (copy.used_s, copy.key))
        assert sum(copy.size for copy in left) + last.size + coming > budget - budget // 10
