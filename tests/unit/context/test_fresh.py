"""Fresh ids: of their kind, and never the same."""

from __future__ import annotations

from squall.context.fresh import fresh_id
from squall.model import ids


def test_fresh_ids_differ_and_are_of_their_kind() -> None:
    made = [fresh_id(prefix) for prefix in (ids.APP, ids.CALL, ids.CONTAINER, ids.NODE) for _ in range(200)]
    assert len(set(made)) == len(made)
    assert all(ids.is_id(each, each.partition("-")[0]) for each in made)
