"""Cron: the five fields of an expression, read once, and the days and minutes that they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LAST: Final = -1
"""In place of a number of the month's weeks: the last one."""
LONGEST: Final = 200

_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_LONGEST_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What an expression means.

    minutes, hours, days, months: those that match, in order. last_day, last_workday: whether the month's last day, or the last
    from Monday to Friday, matches too. weekdays: 0 for Sunday to 6; nth: pairs of a day of the week and which one of the month,
    LAST for the last. both: whether a day has to match in both of its fields, and not in one of them. fixed: whether it names
    times of the day; otherwise it goes with the hours and minutes as they pass.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: tuple[int, ...]
    weekdays: frozenset[int]
    nth: frozenset[tuple[int, int]] = frozenset()
    last_day: bool = False
    last_workday: bool = False
    both: bool = False
    fixed: bool = False


def read_fields(expression: str) -> Fields:
    """The fields of an expression. Raises ValueError that says which field is wrong, and how."""
    parts = expression.upper().split()
    if len(expression) > LONGEST or not expression.isascii():
        raise ValueError(f"an expression is plain text of at most {LONGEST} characters")
    if len(parts) == 6:
        raise ValueError(
            "six fields: an expression has no seconds; for less than a minute there is Period(seconds=...)"
        )
    if len(parts) != 5:
        raise ValueError(
            f"an expression has five fields, minute hour day month weekday, and this one has {len(parts)}"
        )
    minute, hour, day, month, weekday = parts
    days, weekdays = _Days(day), _Weekdays(weekday)
    fields = Fields(
        minutes=tuple(sorted(_numbers("minute", minute, 0, 59))),
        hours=tuple(sorted(_numbers("hour", hour, 0, 23))),
        days=days.numbers,
        last_day=days.last,
        last_workday=days.last_workday,
        months=tuple(sorted(_numbers("month", month, 1, 12, _MONTHS))),
        weekdays=weekdays.numbers,
        nth=weekdays.nth,
        both=_has_star(day) or _has_star(weekday),
        fixed=not _has_star(minute) and not _has_star(hour),
    )
    _check_that_it_comes(fields)
    return fields


class _Days:
    """The field of days of the month."""

    def __init__(self, text: str) -> None:
        terms = text.split(",")
        self.last = "L" in terms
        self.last_workday = "LW" in terms
        plain = ",".join(term for term in terms if term not in {"L", "LW"})
        self.numbers = _numbers("day", plain, 1, 31) if plain else frozenset[int]()


class _Weekdays:
    """The field of days of the week; 7 is Sunday too."""

    def __init__(self, text: str) -> None:
        plain, nth = [], set()
        for term in text.split(","):
            name, mark, which = term.partition("#")
            if mark:
                number = _number("weekday", which, 1, 5)
                nth.add((_day(name), number))
            elif term.endswith("L"):
                nth.add((_day(term[:-1]), LAST))
            else:
                plain.append(term)
        self.nth = frozenset(nth)
        listed = _numbers("weekday", ",".join(plain), 0, 7, _DAYS) if plain else frozenset[int]()
        self.numbers = frozenset(day % 7 for day in listed)


def _day(text: str) -> int:
    return _number("weekday", text, 0, 7, _DAYS) % 7


def _has_star(text: str) -> bool:
    return any(term.startswith("*") for term in text.split(","))


def _numbers(field: str, text: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    """The numbers of a field: numbers, names, ranges and steps, with commas between them."""
    terms = text.split(",")
    if "*" in terms and len(terms) > 1:
        raise ValueError(f"{field} {text!r}: * is every one already, and stands alone")
    return frozenset(
        number
        for term in terms
        for number in _term(term, lambda one: _number(field, one, low, high, names), low, high)
    )


def _term(term: str, number: Callable[[str], int], low: int, high: int) -> range:
    span, slash, every = term.partition("/")
    step = 1
    if slash:
        if not _is_number(every) or not 1 <= int(every) <= high - low:
            raise ValueError(f"the step of {term!r} is between 1 and {high - low}")
        step = int(every)
    if span == "*":
        return range(low, high + 1, step)
    first, dash, last = span.partition("-")
    start = number(first)
    if dash:
        # The Sunday that ends a week.
        stop = 7 if last == "SUN" and start > 0 else number(last)
        if stop < start:
            raise ValueError(f"the range {span!r} ends before it begins")
        return range(start, stop + 1, step)
    return range(start, high + 1, step) if slash else range(start, start + 1)


def _number(field: str, text: str, low: int, high: int, names: tuple[str, ...] = ()) -> int:
    if text in names:
        return names.index(text) + low
    if not _is_number(text) or not low <= int(text) <= high:
        or_names = f", or {names[0]} to {names[-1]}" if names else ""
        raise ValueError(f"{field} {text!r} is no number from {low} to {high}{or_names}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= 4


def _check_that_it_comes(fields: Fields) -> None:
    """Raises ValueError for a day that no month has. What is rarer is found where instants are computed."""
    by_number_alone = (
        fields.both and not fields.last_day and not fields.last_workday and bool(fields.days)
    ) or not (fields.weekdays or fields.nth)
    longest = max(_LONGEST_MONTHS[month - 1] for month in fields.months)
    if by_number_alone and fields.days and min(fields.days) > longest:
        raise ValueError(f"no such month has a day {min(fields.days)}")
