"""Which templates are made before anybody calls."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given, strategies as st

from squall.model.ids import FunctionId
from squall.scheduling.template_order import (
    HALF_LIFE_S,
    WORTH,
    Opened,
    Remembered,
    Room,
    coldest_out,
    expected_bytes,
    templates_to_make,
)

NOW_S = 1_000_000_000.0
DAY_S = 86_400.0

names = st.tuples(st.sampled_from("pq"), st.sampled_from("fgh"), st.sampled_from(["v1", "v2", "v3"]))
rows = st.builds(
    lambda name, starts, age_s, size, refused: Remembered(
        app=name[0],
        function=name[1],
        version=name[2],
        starts=starts,
        used_s=NOW_S - age_s,
        bytes=size,
        refused=refused,
    ),
    names,
    st.floats(0, 1e6),
    st.floats(-DAY_S, 30 * DAY_S),
    st.integers(0, 2**33),
    st.booleans(),
)
records = st.lists(rows, max_size=18, unique_by=lambda row: (row.app, row.function, row.version)).map(tuple)
apps = st.lists(names, max_size=12, unique=True).map(
    lambda found: tuple(
        Opened(id=FunctionId(f"ap-{n}/{function}"), app=app, function=function, version=version)
        for n, (app, function, version) in enumerate(found)
    )
)
rooms = st.builds(Room, count=st.integers(-2, 8), bytes=st.integers(-(2**20), 2**35))


def heat_of(one: Opened, record: tuple[Remembered, ...]) -> float:
    return sum(
        row.starts * math.pow(0.5, max(0.0, NOW_S - row.used_s) / HALF_LIFE_S)
        for row in record
        if row.app == one.app and row.function == one.function
    )


@given(opened=apps, record=records, room=rooms)
def test_there_is_room_for_all_that_are_made_and_each_was_worth_it(
    opened: tuple[Opened, ...], record: tuple[Remembered, ...], room: Room
) -> None:
    made = templates_to_make(opened, record, room=room, now_s=NOW_S)
    by_id = {one.id: one for one in opened}
    assert len(set(made)) == len(made) <= max(0, room.count)
    assert sum(expected_bytes(by_id[name], record) for name in made) <= max(0, room.bytes)
    assert all(heat_of(by_id[name], record) >= WORTH * 0.999 for name in made)


@given(opened=apps, record=records, room=rooms)
def test_the_hottest_come_first(
    opened: tuple[Opened, ...], record: tuple[Remembered, ...], room: Room
) -> None:
    made = templates_to_make(opened, record, room=room, now_s=NOW_S)
    by_id = {one.id: one for one in opened}
    heats = [heat_of(by_id[name], record) for name in made]
    assert all(one >= other * 0.999 for one, other in pairwise(heats))


@given(opened=apps, record=records, room=rooms)
def test_a_version_that_was_refused_is_never_tried(
    opened: tuple[Opened, ...], record: tuple[Remembered, ...], room: Room
) -> None:
    refused = {(row.app, row.function, row.version) for row in record if row.refused}
    made = set(templates_to_make(opened, record, room=room, now_s=NOW_S))
    assert not [one for one in opened if one.id in made and (one.app, one.function, one.version) in refused]


@given(opened=apps, record=records)
def test_with_room_for_all_whoever_was_worth_it_and_not_refused_gets_one(
    opened: tuple[Opened, ...], record: tuple[Remembered, ...]
) -> None:
    made = templates_to_make(opened, record, room=Room(count=99, bytes=2**60), now_s=NOW_S)
    refused = {(row.app, row.function, row.version) for row in record if row.refused}
    worth = {
        one.id
        for one in opened
        if heat_of(one, record) >= WORTH * 1.001 and (one.app, one.function, one.version) not in refused
    }
    assert worth <= set(made)


@given(version=st.sampled_from(["v1", "v2"]), age_s=st.floats(0, DAY_S * 0.9))
def test_an_edited_function_is_as_hot_as_it_was_and_its_namesakes_are_not(version: str, age_s: float) -> None:
    record = (Remembered(app="p", function="f", version="v1", starts=1.0, used_s=NOW_S - age_s),)
    opened = tuple(
        Opened(id=FunctionId(f"ap/{n}"), app=app, function=function, version=version)
        for n, (app, function) in enumerate([("p", "f"), ("p", "g"), ("q", "f")])
    )
    assert templates_to_make(opened, record, room=Room(count=9, bytes=2**40), now_s=NOW_S) == ("ap/0",)


@given(record=records, most=st.integers(0, 20))
def test_what_is_forgotten_is_no_hotter_than_what_is_kept(record: tuple[Remembered, ...], most: int) -> None:
    kept = coldest_out(record, most=most, now_s=NOW_S)
    assert len(kept) == min(most, len(record))
    gone = [row.heat(NOW_S) for row in record if row not in kept]
    assert not gone or not kept or max(gone) <= min(row.heat(NOW_S) for row in kept)


@given(row=rows, ages_s=st.lists(st.floats(0, 3 * DAY_S), max_size=6))
def test_heat_halves_with_each_half_life_and_each_start_adds_one(
    row: Remembered, ages_s: list[float]
) -> None:
    now_s = max(NOW_S, row.used_s)
    for age_s in ages_s:
        now_s += age_s
        before = row.heat(now_s)
        row = row.started(now_s)
        assert row.heat(now_s) == before + 1.0
        assert abs(row.heat(now_s + HALF_LIFE_S) - row.heat(now_s) / 2) < 1e-6 * row.heat(now_s)
