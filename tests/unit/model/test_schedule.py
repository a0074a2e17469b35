"""Schedules as they are written: what is refused, and what is said then."""

from __future__ import annotations

import pytest

from squall.model.cron import LAST, read_fields
from squall.model.errors import ScheduleInvalid
from squall.model.jsonable import from_json, to_json
from squall.model.schedule import Cron, Period, Schedule, schedule_of


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "five fields"),
        ("* * * *", "this one has 4"),
        ("* * * * * *", r"Period\(seconds"),
        ("60 * * * *", "minute '60' is no number from 0 to 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day '0'"),
        ("* * * 13 *", "JAN to DEC"),
        ("* * * * 8", "SUN to SAT"),
        ("*/0 * * * *", "between 1 and 59"),
        ("*/60 * * * *", "between 1 and 59"),
        ("*,5 * * * *", "stands alone"),
        ("5-1 * * * *", "ends before it begins"),
        ("1,,2 * * * *", "minute '' is no number"),
        ("* * L/2 * *", "day 'L'"),
        ("* * L-3 * *", "day 'L'"),
        ("* * * * L", "weekday ''"),
        ("* * * * MON#6", "weekday '6'"),
        ("* * * * 1-5#2", "weekday '1-5'"),
        ("* * 31 FEB *", "no such month has a day 31"),
        ("* * 30 2 *", "no such month has a day 30"),
        ("* * ٣ * *", "plain text"),
        ("99999999999999999999 * * * *", "is no number"),
        ("* " * 150, "at most 200 characters"),
    ],
)
def test_an_expression_that_means_nothing_says_which_field(expression: str, words: str) -> None:
    with pytest.raises(ScheduleInvalid, match=words):
        Cron(expression)


def test_forms_that_are_read_in_odd_ways_elsewhere_mean_what_they_say() -> None:
    assert read_fields("5-5/10 * * * *").minutes == (5,)
    assert read_fields("0-0/1 * * * *").minutes == (0,)
    assert read_fields("50/5 * * * *").minutes == (50, 55)
    assert read_fields("0 0 * * FRI-SUN").weekdays == {5, 6, 0}
    assert read_fields("0 0 * * 5L,mon#2").nth == {(5, LAST), (1, 2)}
    assert read_fields("0 0 5,*/10 * 1").both == read_fields("0 0 */10,5 * 1").both


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"seconds": 0.5},
        {"hours": -1, "days": 2},
        {"hours": True},
        {"hours": "1"},
        {"months": 1.5},
        {"years": 101},
        {"seconds": float("inf")},
        {"seconds": float("nan")},
        {"hours": 1, "missed": "some"},
        {"hours": 1, "overlap": "queue"},
    ],
)
def test_a_period_that_is_none_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ScheduleInvalid):
        Period(**fields)  # type: ignore[arg-type]  # what users may write


@pytest.mark.parametrize("zone", ["", "../../etc/passwd\0", "/etc/localtime", "Europe/Ber lin", "x" * 101, 3])
def test_what_cannot_name_a_time_zone_is_refused(zone: object) -> None:
    with pytest.raises(ScheduleInvalid, match="is no name of a time zone"):
        Cron("* * * * *", timezone=zone)  # type: ignore[arg-type]  # what users may write


def test_schedules_survive_the_wire_and_say_what_they_are() -> None:
    said = {
        str(rule): from_json(Schedule, to_json(schedule_of(rule))).rule == rule
        for rule in (
            Cron("5 4  * * *"),
            Cron("5 4 * * *", timezone="Europe/Berlin", missed="all", overlap="run"),
            Period(days=1, hours=2.5),
            Period(months=1),
        )
    }
    assert said == dict.fromkeys(
        ("5 4 * * *", "5 4 * * * Europe/Berlin", "every 1 day 2.5 hours", "every 1 month"), True
    )
    for wrong in ({}, {"cron": {"expression": "* * * * *"}, "period": {"hours": 1.0}}):
        with pytest.raises(ScheduleInvalid, match="one Cron or one Period"):
            from_json(Schedule, wrong)
