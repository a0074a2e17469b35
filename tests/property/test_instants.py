"""Instants of schedules: the same as cronsim's where that is right, the same from both sides, and right where clocks change."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given, strategies as st

from squall.model.cron import read_fields
from squall.model.errors import ScheduleInvalid
from squall.model.schedule import Cron, Period, Schedule
from squall.scheduling.instants import check_instants, last_until, next_after

DAY_S = 86_400
NOW_S = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
)
# In these, cronsim and what is documented here say the same; it passes over half hours of Lord Howe Island.
PLAIN_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


def fields(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """What a field may say that both read alike."""
    number = st.integers(low, high)
    spelled = number.map(str) | st.sampled_from(names) if names else number.map(str)
    span = (
        st.tuples(number, number)
        .filter(lambda pair: pair[0] < pair[1])
        .map(lambda pair: f"{pair[0]}-{pair[1]}")
    )
    step = st.tuples(
        st.just("*") | span,
        st.integers(1, high - low),
    ).map(lambda pair: f"{pair[0]}/{pair[1]}")
    onward = st.tuples(st.integers(low, high - 1), st.integers(1, high - low)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    term = spelled | span | onward
    listed = st.lists(term, min_size=2, max_size=3).map(",".join)
    return st.just("*") | spelled | span | step | onward | listed


MONTHS = ("JAN", "feb", "MAR", "Dec")
WEEKDAYS = ("SUN", "mon", "FRI", "MON#1", "5#5", "5L", "0L")
EXPRESSIONS = st.tuples(
    fields(0, 59),
    fields(0, 23),
    fields(1, 31) | st.sampled_from(("L", "LW", "1,L", "*")),
    st.just("*") | fields(1, 12, MONTHS),
    st.just("*") | fields(0, 7, WEEKDAYS),
).map(" ".join)
STARTS = st.integers(int(datetime(2015, 1, 1, tzinfo=UTC).timestamp()), int(NOW_S)).map(float)


def instants(cron: Cron, start_s: float, count: int) -> list[float]:
    found: list[float] = []
    at_s = next_after(Schedule(cron=cron), 0.0, start_s)
    while len(found) < count and at_s is not None:
        found.append(at_s)
        at_s = next_after(Schedule(cron=cron), 0.0, at_s)
    return found


@given(EXPRESSIONS, st.sampled_from(PLAIN_ZONES), STARTS)
def test_an_expression_means_what_it_means_to_cronsim(expression: str, zone: str, start_s: float) -> None:
    try:
        theirs = [
            one.timestamp()
            for one in itertools.islice(
                CronSim(expression, datetime.fromtimestamp(start_s, ZoneInfo(zone))), 5
            )
        ]
    except CronSimError:
        with pytest.raises(ScheduleInvalid):
            Cron(expression, timezone=zone)
        return
    try:
        mine = instants(Cron(expression, timezone=zone), start_s, 5)
    except ScheduleInvalid:
        # It says at once what theirs only finds by looking for fifty years.
        assert theirs == []
        return
    assert mine == sorted(set(theirs)) or len(theirs) < 5


@given(EXPRESSIONS, st.sampled_from(ZONES), STARTS)
def test_instants_are_the_same_from_both_sides(expression: str, zone: str, start_s: float) -> None:
    try:
        schedule = Schedule(cron=Cron(expression, timezone=zone))
    except ScheduleInvalid:
        return
    forward = instants(schedule.rule, start_s, 5) if isinstance(schedule.rule, Cron) else []
    assert forward == sorted(set(forward))
    assert all(one > start_s for one in forward)
    if forward:
        assert last_until(schedule, 0.0, forward[-1], len(forward)) == forward[::-1]
        assert last_until(schedule, 0.0, forward[0] - 0.001, 1) != [forward[0]]
        for one in forward:
            assert next_after(schedule, 0.0, one - 1e-3) == one


PERIODS = st.builds(
    Period,
    years=st.integers(0, 2),
    months=st.integers(0, 14),
    days=st.integers(0, 40) | st.floats(0, 2),
    hours=st.integers(0, 30),
    minutes=st.integers(0, 90),
    seconds=st.floats(1, 1000),
)


@given(PERIODS, STARTS, st.integers(-3 * 10**7, 3 * 10**7))
def test_a_period_is_counted_from_its_anchor_both_ways(period: Period, anchor_s: float, off_s: int) -> None:
    schedule, at_s = Schedule(period=period), anchor_s + off_s
    (last,) = last_until(schedule, anchor_s, at_s, 1)
    following = next_after(schedule, anchor_s, at_s)
    assert following is not None
    assert last <= at_s < following
    assert next_after(schedule, anchor_s, last) == following
    assert next_after(schedule, anchor_s, anchor_s - 0.001) == anchor_s


def test_months_and_years_go_by_the_calendar() -> None:
    anchor_s = datetime(2026, 1, 31, 9, 30, tzinfo=UTC).timestamp()
    schedule = Schedule(period=Period(months=1))
    at_s, told = anchor_s, []
    for _ in range(4):
        following = next_after(schedule, anchor_s, at_s)
        assert following is not None
        at_s = following
        told.append(datetime.fromtimestamp(at_s, UTC).strftime("%m-%d %H:%M"))
    assert told == ["02-28 09:30", "03-31 09:30", "04-30 09:30", "05-31 09:30"]
    leap_s = datetime(2024, 2, 29, tzinfo=UTC).timestamp()
    following = next_after(Schedule(period=Period(years=1)), leap_s, leap_s)
    assert following == datetime(2025, 2, 28, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("expression", "zone", "start", "told"),
    [
        # 02:30 is not there on March 29, 2026: once the clocks have jumped to 03:00.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00", ["03:00", "02:30"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-29T00:00", ["03:00", "02:00", "02:30"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-29T00:00", ["02:00", "02:30"]),
        ("0 */1 * * *", "Europe/Berlin", "2026-03-29T01:00", ["03:00", "04:00"]),
        # 02:30 is there twice on October 25, 2026: the first.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00", ["02:30", "02:30"]),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T02:00", ["02:30", "02:30", "03:30"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T02:00", ["02:30", "02:00", "02:30", "03:00"]),
        # Half an hour, at two in the morning.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04T00:00", ["02:30", "02:15"]),
        ("0 4 * * *", "Australia/Lord_Howe", "2026-10-04T00:00", ["04:00", "04:00"]),
        ("*/15 4 * * *", "Australia/Lord_Howe", "2026-10-04T00:00", ["04:00", "04:15"]),
        # A whole day that Samoa never had, and midnights that are not there.
        ("0 5 * * *", "Pacific/Apia", "2011-12-29T04:00", ["05:00", "00:00", "05:00"]),
        ("* * 30 12 *", "Pacific/Apia", "2011-12-29T04:00", ["00:00", "00:01"]),
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00", ["01:00", "00:00"]),
        ("16 */9 * * *", "America/St_Johns", "2010-11-06T15:30", ["18:16", "00:16", "09:16"]),
    ],
)
def test_a_time_that_is_not_there_or_is_there_twice_comes_once(
    expression: str, zone: str, start: str, told: list[str]
) -> None:
    start_s = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).timestamp()
    found = instants(Cron(expression, timezone=zone), start_s, len(told))
    assert [datetime.fromtimestamp(one, ZoneInfo(zone)).strftime("%H:%M") for one in found] == told


@pytest.mark.parametrize("expression", ["0 0 */30 2 MON#5", "* * */30 2 TUE#5", "0 0 */29 2 6L,5L,4L"])
def test_a_day_that_never_comes_is_refused(expression: str) -> None:
    schedule = Schedule(cron=Cron(expression, timezone="Europe/Berlin"))
    with pytest.raises(ScheduleInvalid, match="no time that comes within 40 years"):
        check_instants(schedule, NOW_S)
    assert last_until(schedule, 0.0, NOW_S, 3) == []


def test_a_rare_day_is_found() -> None:
    schedule = Schedule(cron=Cron("0 0 */28 2 SUN#5"))
    found = next_after(schedule, 0.0, NOW_S)
    assert found == datetime(2032, 2, 29, tzinfo=UTC).timestamp()


def test_a_zone_that_is_not_there_is_named() -> None:
    with pytest.raises(ScheduleInvalid, match="no time zone 'Europe/Berlln'"):
        check_instants(Schedule(cron=Cron("* * * * *", timezone="Europe/Berlln")), NOW_S)


@given(st.text(alphabet="0123456789*/-,#LWMONJAF ", max_size=60))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        cron = Cron(text)
    except ScheduleInvalid:
        return
    assert next_after(Schedule(cron=cron), 0.0, NOW_S) is None or read_fields(text).minutes
