"""Schedule: when a deployed function is called by itself, by the clock of a place or once a period."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields
from typing import Final

from squall.model.cron import read_fields
from squall.model.errors import ScheduleInvalid

MISSED: Final = ("latest", "skip", "all")
"""What becomes of instants at which no server was there: the last of them is made up for, or none, or each."""
OVERLAP: Final = ("skip", "run")
"""What becomes of an instant at which the call of an earlier one still runs: it is left out, or runs beside that."""

LEAST_S: Final = 1.0
MOST_YEARS: Final = 100
_LONGEST_ZONE: Final = 100
_ZONE_SIGNS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/")

NO_ARGUMENTS: Final = b"\x80\x05\x95\x06\x00\x00\x00\x00\x00\x00\x00)}\x94\x86\x94."
"""What `squall.wire.payload` packs of `((), {})`: the server never packs values itself."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Calls a deployed function at the times that a cron expression names.

    expression: minute, hour, day of the month, month, day of the week, as in "5 4 * * *" or "0 9 * * MON-FRI": numbers, names
    (JAN, MON), ranges `1-5`, steps `*/15`, lists `1,15`; for days of the month also `L` (the last) and `LW` (the last from Monday
    to Friday), for days of the week `MON#1` (the first one of the month) and `5L` (the last Friday). Where neither field of days
    begins with `*`, a day that matches one of them is enough.
    timezone: whose clock it is, by its IANA name ("Europe/Berlin").
    missed: what becomes of times at which the server was down: "latest" makes up for the last one, if that is no more than 7 days
    ago; "all" for each of the last 100; "skip" for none that is more than a minute late.
    overlap: "skip" leaves a time out while the call of an earlier one still runs, "run" calls anyway.

    Raises ScheduleInvalid.
    """

    expression: str
    _: KW_ONLY
    timezone: str = "UTC"
    missed: str = "latest"
    overlap: str = "skip"

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str):
            raise ScheduleInvalid(f"Cron: an expression is text, not {self.expression!r}")
        try:
            read_fields(self.expression)
        except ValueError as wrong:
            raise ScheduleInvalid(f"Cron({self.expression[:100]!r}): {wrong}") from None
        zone = self.timezone
        if (
            not isinstance(zone, str)
            or not 0 < len(zone) <= _LONGEST_ZONE
            or not _ZONE_SIGNS.issuperset(zone)
            or zone.startswith("/")
        ):
            raise ScheduleInvalid(f"Cron: {zone!r} is no name of a time zone, such as 'Europe/Berlin'")
        _check_policies("Cron", self.missed, self.overlap)

    def __str__(self) -> str:
        place = "" if self.timezone == "UTC" else f" {self.timezone}"
        return f"{' '.join(self.expression.split())}{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Calls a deployed function once a period, counted from the instant at which it was first deployed with it.

    At least a second in all. Months and years go by the calendar (of UTC): a month after January 31 is the last day of February.
    A new version with the same period goes on counting where the one before was. missed, overlap: as for `squall.Cron`.

    Raises ScheduleInvalid.
    """

    years: int = 0
    months: int = 0
    weeks: float = 0.0
    days: float = 0.0
    hours: float = 0.0
    minutes: float = 0.0
    seconds: float = 0.0
    missed: str = "latest"
    overlap: str = "skip"

    def __post_init__(self) -> None:
        for one in fields(self)[:7]:
            given = getattr(self, one.name)
            whole = one.name in {"years", "months"}
            if isinstance(given, bool) or not isinstance(given, int if whole else int | float):
                raise ScheduleInvalid(
                    f"Period({one.name}={given!r}): that is no {'whole ' if whole else ''}number"
                )
            if not math.isfinite(given) or given < 0:
                raise ScheduleInvalid(f"Period({one.name}={given!r}): a period does not go backward")
            if not whole:
                object.__setattr__(self, one.name, float(given))
        if months_in(self) > 12 * MOST_YEARS or seconds_in(self) > MOST_YEARS * 366 * 86_400.0:
            raise ScheduleInvalid(f"Period: at most {MOST_YEARS} years")
        if not months_in(self) and seconds_in(self) < LEAST_S:
            raise ScheduleInvalid(
                "Period: at least one of years, months, weeks, days, hours, minutes and seconds is above zero, and all "
                f"together are at least {LEAST_S:g} second"
            )
        _check_policies("Period", self.missed, self.overlap)

    def __str__(self) -> str:
        amounts = [(one.name, getattr(self, one.name)) for one in fields(self)[:7]]
        words = [f"{amount:g} {name if amount != 1 else name[:-1]}" for name, amount in amounts if amount]
        return f"every {' '.join(words)}"


def months_in(period: Period) -> int:
    """The months and years of it."""
    return 12 * period.years + period.months


def seconds_in(period: Period) -> float:
    """What comes on top of these."""
    hours = 24 * (7 * period.weeks + period.days) + period.hours
    return 3600 * hours + 60 * period.minutes + period.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a function was declared with: one of the two."""

    cron: Cron | None = None
    period: Period | None = None

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.period is None):
            raise ScheduleInvalid("a schedule is one Cron or one Period")

    @property
    def rule(self) -> Cron | Period:
        """The one that it is."""
        rule = self.cron or self.period
        assert rule is not None, "checked when it was made"
        return rule

    def __str__(self) -> str:
        return str(self.rule)


def schedule_of(given: object) -> Schedule | None:
    """The schedule of an option. Raises TypeError."""
    match given:
        case None:
            return None
        case Cron():
            return Schedule(cron=given)
        case Period():
            return Schedule(period=given)
        case _:
            raise TypeError(
                f"schedule is squall.Cron('5 4 * * *') or squall.Period(hours=1), not {given!r:.100}"
            )


def _check_policies(what: str, missed: object, overlap: object) -> None:
    if missed not in MISSED:
        raise ScheduleInvalid(f"{what}: missed is one of {', '.join(map(repr, MISSED))}, not {missed!r}")
    if overlap not in OVERLAP:
        raise ScheduleInvalid(f"{what}: overlap is one of {', '.join(map(repr, OVERLAP))}, not {overlap!r}")
