"""The suite: its parts, one after another, and their reports as one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from squall.testing.chaos.adoption import Map, adoption
from squall.testing.chaos.order import can_trace, fsync_order
from squall.testing.chaos.planted import BUGS, seek
from squall.testing.chaos.points import sweep_points
from squall.testing.chaos.report import Report, together
from squall.testing.chaos.seeds import sweep_seeds
from squall.testing.chaos.stale import stale
from squall.testing.chaos.storm import Weather, storm
from squall.testing.chaos.town import why_no_town
from squall.testing.chaos.ways import TOWN_FAULTS

PARTS: Final = ("storm", "town", "points", "adoption", "stale", "order", "seeds", "planted")
MACHINES: Final = 3
USUAL: Final = ("storm", "adoption", "order")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be done. runs: of crash points at most so many. seeds: of the simulation, so many. least_killed, least_kinds: below which the report is none."""

    parts: tuple[str, ...] = USUAL
    minutes: float = 2.0
    seed: int = 0
    runs: int | None = None
    seeds: int = 1000
    wide: Map = field(default_factory=Map)
    least_killed: int = 0
    least_kinds: int = 0


def suite(wish: Wish, say: Say) -> Report:
    """The report of all the parts that are wished."""
    found = [_part(name, wish, say) for name in PARTS if name in wish.parts]
    whole = together(found)
    short = []
    if whole.killed < wish.least_killed:
        short.append(f"{whole.killed} processes were killed, and {wish.least_killed} are due")
    if len(whole.faults) < wish.least_kinds:
        short.append(f"there were {len(whole.faults)} kinds of fault, and {wish.least_kinds} are due")
    return replace(whole, broken=(*whole.broken, *short))


def _part(name: str, wish: Wish, say: Say) -> Report:
    say(f"- {name}")
    match name:
        case "storm":
            return storm(Weather(minutes=wish.minutes, seed=wish.seed), say)
        case "town" if why := why_no_town():
            return Report(figures={"town": f"not built: {why}"})
        case "town":
            weather = Weather(minutes=wish.minutes, seed=wish.seed, faults=TOWN_FAULTS, machines=MACHINES)
            return storm(weather, say)
        case "points":
            beside = max(1, min(8, len(os.sched_getaffinity(0))))
            return sweep_points(seed=wish.seed, most=wish.runs, beside=beside, say=say)
        case "adoption":
            return together([adoption(role, wish.wide) for role in ("server", "agent")])
        case "stale":
            return stale()
        case "order" if not can_trace():
            return Report(figures={"fsync before the reply": "not traced: strace is not installed"})
        case "order":
            return fsync_order()
        case "seeds":
            return sweep_seeds(range(wish.seed, wish.seed + wish.seeds), say)
        case _:
            return _planted(say)


def _planted(say: Say) -> Report:
    """Each planted bug, and whether its layer finds it."""
    missed = []
    table: dict[str, str] = {}
    for bug in BUGS:
        sought = seek(bug)
        verdict = {True: "found", False: "NOT FOUND", None: "not sought"}[sought.found]
        table[f"planted: {bug.name}"] = f"{verdict} by {bug.layer}: {sought.shown}"
        say(f"{verdict} by {bug.layer}: {bug.name} ({sought.shown})")
        if sought.found is False:
            missed.append(f"a planted bug was not found: {bug.name}")
    return Report(figures=table, broken=tuple(missed))
