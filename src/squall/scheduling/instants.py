"""Instants: those that a schedule means, before and after any other, in seconds since 1970."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from squall.model.cron import LAST, Fields, read_fields
from squall.model.errors import ScheduleInvalid
from squall.model.schedule import Cron, Period, Schedule, months_in, seconds_in

MOST_YEARS = 40
"""How far a day is looked for: around 2100, February 29 on one day of the week is that rare."""
_DAY = timedelta(days=1)
_DAY_S = 86_400
_FIRST, _LAST = 3.0 * _DAY_S, 250_000_000_000.0
"""What datetimes can say, with room on both sides."""


def check_instants(schedule: Schedule, now_s: float) -> None:
    """Raises ScheduleInvalid where the time zone is not there, and where no instant is to come."""
    if next_after(schedule, 0.0, now_s) is None:
        raise ScheduleInvalid(f"the schedule {schedule} names no time that comes within {MOST_YEARS} years")


def next_after(schedule: Schedule, anchor_s: float, at_s: float) -> float | None:
    """The first instant after another; None where none is to come. anchor_s: where a period is counted from."""
    if not _FIRST <= at_s <= _LAST:
        return None
    match schedule.rule:
        case Cron() as cron:
            return next(_cron_after(cron, at_s), None)
        case Period() as period:
            return _period_at(period, anchor_s, _period_index(period, anchor_s, at_s) + 1)


def last_until(schedule: Schedule, anchor_s: float, at_s: float, most: int) -> list[float]:
    """The last so many instants up to another, itself included, the last first."""
    if not _FIRST <= at_s <= _LAST:
        return []
    found: list[float] = []
    match schedule.rule:
        case Cron() as cron:
            for one in _cron_until(cron, at_s):
                found.append(one)
                if len(found) == most:
                    break
        case Period() as period:
            index = _period_index(period, anchor_s, at_s)
            found = [_period_at(period, anchor_s, index - number) for number in range(most)]
    return found


# -- by the clock


def _cron_after(cron: Cron, at_s: float) -> Iterator[float]:
    zone = zone_of(cron.timezone)
    # A time that a day skips may come with the next one.
    day = datetime.fromtimestamp(at_s, zone).date() - _DAY
    last = day.year + MOST_YEARS
    while day.year <= last:
        instants = _of_day(cron, day)
        yield from instants[bisect_right(instants, at_s) :]
        day = _next_day(cron, day)


def _cron_until(cron: Cron, at_s: float) -> Iterator[float]:
    zone = zone_of(cron.timezone)
    day = datetime.fromtimestamp(at_s, zone).date() + _DAY
    first = max(1970, day.year - MOST_YEARS)
    while day.year >= first:
        instants = _of_day(cron, day)
        yield from reversed(instants[: bisect_right(instants, at_s)])
        day = _day_before(cron, day)


def _next_day(cron: Cron, day: date) -> date:
    months = _fields(cron.expression).months
    day += _DAY
    while day.month not in months:
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day


def _day_before(cron: Cron, day: date) -> date:
    months = _fields(cron.expression).months
    day -= _DAY
    while day.month not in months:
        day = day.replace(day=1) - _DAY
    return day


@lru_cache(maxsize=4096)
def _of_day(cron: Cron, day: date) -> tuple[float, ...]:
    """The instants of one day of a place, in order."""
    fields = _fields(cron.expression)
    if not _matches(fields, day):
        return ()
    zone = zone_of(cron.timezone)
    begin, noon, end = (datetime.combine(day, datetime.min.time(), zone) + h * _DAY for h in (0, 0.5, 1))
    if begin.utcoffset() == noon.utcoffset() == end.utcoffset():
        base = begin.timestamp()
        return tuple(base + offset for offset in _of_plain_day(fields))
    return tuple(sorted(set(_of_changed_day(fields, day, zone))))


@lru_cache(maxsize=1024)
def _of_plain_day(fields: Fields) -> tuple[int, ...]:
    return tuple(3600 * hour + 60 * minute for hour in fields.hours for minute in fields.minutes)


def _of_changed_day(fields: Fields, day: date, zone: ZoneInfo) -> Iterator[float]:
    """Of a day on which clocks are put forward or back.

    A time that there is not: what names it comes when the clocks have jumped over it; what goes with the hours and minutes has
    none. A time that comes twice: what names it comes the first time, the other both times.
    """
    for offset in _of_plain_day(fields):
        told = datetime.combine(day, datetime.min.time()) + timedelta(seconds=offset)
        first, second = (told.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() == second.utcoffset():
            yield first.timestamp()
        elif datetime.fromtimestamp(first.timestamp(), zone).replace(tzinfo=None) != told:
            if fields.fixed:
                yield _after_gap(told, zone)
        else:
            yield first.timestamp()
            if not fields.fixed:
                yield second.timestamp()


def _after_gap(told: datetime, zone: ZoneInfo) -> float:
    """The instant at which clocks jump over a time: it lies between the two that the time may be taken for."""
    low, high = sorted(told.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    before = datetime.fromtimestamp(low, zone).utcoffset()
    instants = range(int(low), int(high) + 1)
    return float(
        instants[
            bisect_left(instants, True, key=lambda at: datetime.fromtimestamp(at, zone).utcoffset() != before)
        ]
    )


def _matches(fields: Fields, day: date) -> bool:
    if day.month not in fields.months:
        return False
    last = monthrange(day.year, day.month)[1]
    weekday = day.isoweekday() % 7
    by_number = (
        day.day in fields.days
        or (fields.last_day and day.day == last)
        or (fields.last_workday and day.day == _last_workday(day, last))
    )
    by_weekday = (
        weekday in fields.weekdays
        or (weekday, (day.day + 6) // 7) in fields.nth
        or (day.day + 7 > last and (weekday, LAST) in fields.nth)
    )
    return by_number and by_weekday if fields.both else by_number or by_weekday


def _last_workday(day: date, last: int) -> int:
    return last - max(0, day.replace(day=last).isoweekday() - 5)


@lru_cache(maxsize=1024)
def _fields(expression: str) -> Fields:
    return read_fields(expression)


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name. Raises ScheduleInvalid."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ScheduleInvalid(
            f"the server knows no time zone {name!r}",
            remedy="name it as IANA does, 'Europe/Berlin'; a machine without any needs the package tzdata",
        ) from None


# -- by periods


def _period_at(period: Period, anchor_s: float, number: int) -> float:
    """The instant that is so many periods after the anchor."""
    seconds = number * seconds_in(period)
    if not months_in(period):
        return anchor_s + seconds
    anchor = datetime.fromtimestamp(anchor_s, UTC)
    month = 12 * anchor.year + anchor.month - 1 + number * months_in(period)
    year, month = max(1, min(9998, month // 12)), month % 12 + 1
    day = min(anchor.day, monthrange(year, month)[1])
    return anchor.replace(year=year, month=month, day=day).timestamp() + seconds


def _period_index(period: Period, anchor_s: float, at_s: float) -> int:
    """The number of the last instant up to another."""
    about_s = months_in(period) * 2_629_746 + seconds_in(period)
    number = int((at_s - anchor_s) // about_s)
    while _period_at(period, anchor_s, number) > at_s:
        number -= 1
    while _period_at(period, anchor_s, number + 1) <= at_s:
        number += 1
    return number
