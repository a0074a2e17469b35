"""What a node keeps of its templates."""

from __future__ import annotations

from hypothesis import given, strategies as st

from squall.scheduling.template_sweep import TemplateView, templates_to_drop

templates = st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 2**34)), max_size=12).map(
    lambda rows: tuple(
        TemplateView(name=f"ap/f{n}", idle_s=idle, bytes=size) for n, (idle, size) in enumerate(rows)
    )
)


@given(templates=templates, idle_s=st.floats(1, 1e5), most=st.integers(0, 2**36))
def test_what_stays_is_in_use_and_fits_or_is_the_last_that_was_used(
    templates: tuple[TemplateView, ...], idle_s: float, most: int
) -> None:
    dropped = set(templates_to_drop(templates, idle_s=idle_s, most_bytes=most))
    kept = [one for one in templates if one.name not in dropped]
    assert all(one.idle_s <= idle_s for one in kept)
    assert sum(one.bytes for one in kept) <= most or len(kept) == 1


@given(templates=templates, idle_s=st.floats(1, 1e5), most=st.integers(0, 2**36))
def test_nothing_is_dropped_that_was_used_later_than_what_stays(
    templates: tuple[TemplateView, ...], idle_s: float, most: int
) -> None:
    dropped = set(templates_to_drop(templates, idle_s=idle_s, most_bytes=most))
    idle_dropped = [one.idle_s for one in templates if one.name in dropped]
    idle_kept = [one.idle_s for one in templates if one.name not in dropped]
    assert not idle_dropped or not idle_kept or min(idle_dropped) >= max(idle_kept)


@given(templates=templates)
def test_with_room_for_all_only_the_idle_go(templates: tuple[TemplateView, ...]) -> None:
    dropped = templates_to_drop(templates, idle_s=100.0, most_bytes=2**40)
    assert set(dropped) == {one.name for one in templates if one.idle_s > 100.0}
