"""Ticks: which calls of a schedule are due at one instant, which of them were missed, and when it is looked again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from squall.model.schedule import Schedule
from squall.scheduling.instants import last_until, next_after

MOST_DUE = 100
"""How many instants that have passed are looked at, at most."""
MISSED_S = 7 * 86_400.0
"""For how long a missed instant is made up for."""
LATE_S = 60.0
"""How late an instant may be and not count as missed."""
LEAD_S = 3.0
"""How early a container is asked for, while nobody knows how long its start takes."""
MOST_LEAD_S = 900.0
_SPARE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """A schedule as it is remembered. Instants in seconds since 1970.

    anchor_s: where its period is counted from. seen_s: up to where it has been decided what becomes of its instants. floor_s: none
    up to here comes again, whatever the clock says; of later ones `taken` says which were decided before.
    """

    schedule: Schedule
    anchor_s: float
    seen_s: float
    floor_s: float = 0.0
    taken: frozenset[float] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What follows. run: the instants that are called for, in order. missed: how many are not, of those that were looked at;
    missed_s: the last of these. seen_s: up to where all is decided then.
    """

    run: tuple[float, ...] = ()
    missed: int = 0
    missed_s: float | None = None
    seen_s: float


def plan_ticks(table: Timetable, now_s: float) -> Due:
    """What is due now.

    A clock that was put back is believed: instants that come again are called for if they never were. One that was put forward
    has instants missed, as a server that was away.
    """
    if now_s <= table.seen_s:
        return Due(seen_s=now_s)
    passed = list(_passed(table, now_s))
    run = tuple(sorted(_made_up_for(table.schedule.rule.missed, passed, now_s)))
    left = [at_s for at_s in passed if at_s not in run]
    return Due(run=run, missed=len(left), missed_s=max(left, default=None), seen_s=now_s)


def next_tick(table: Timetable, now_s: float) -> float | None:
    """The next instant that is to be called for after this one; None: there is none."""
    at_s = next_after(table.schedule, table.anchor_s, max(now_s, table.floor_s))
    # As many as may have been decided ahead of a clock that went back.
    for _ in range(len(table.taken) + 1):
        if at_s is None or at_s not in table.taken:
            return at_s
        at_s = next_after(table.schedule, table.anchor_s, at_s)
    return at_s


def same_times(one: Schedule, other: Schedule) -> bool:
    """Whether two schedules mean the same instants, whatever becomes of those that are missed."""
    rule = other.rule
    return replace(one.rule, missed=rule.missed, overlap=rule.overlap) == rule


def lead_s(start_s: float | None) -> float:
    """How long before an instant a container is asked for, so that it is ready then. start_s: see `Starts`."""
    return LEAD_S if start_s is None else min(MOST_LEAD_S, 1.5 * start_s + _SPARE_S)


def _passed(table: Timetable, now_s: float) -> Iterator[float]:
    """Instants since the last look that nobody has decided, the last first."""
    since_s = max(table.seen_s, table.floor_s)
    for at_s in last_until(table.schedule, table.anchor_s, now_s, MOST_DUE):
        if at_s <= since_s:
            return
        if at_s not in table.taken:
            yield at_s


def _made_up_for(missed: str, passed: list[float], now_s: float) -> Iterable[float]:
    match missed:
        case "all":
            return [at_s for at_s in passed if now_s - at_s <= MISSED_S]
        case "skip":
            return [at_s for at_s in passed[:1] if now_s - at_s <= LATE_S]
        case _:
            return [at_s for at_s in passed[:1] if now_s - at_s <= MISSED_S]
