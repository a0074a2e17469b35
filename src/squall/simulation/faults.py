"""Faults: what goes wrong in a run, drawn from its seed before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """What can go wrong."""

    CONTAINER_KILLED = "container_killed"
    CONTAINER_EXITS = "container_exits"
    NODE_DIES = "node_dies"
    NODE_SILENT = "node_silent"
    NODE_JOINS = "node_joins"
    SERVER_RESTARTS = "server_restarts"
    START_FAILS = "start_fails"
    START_SLOW = "start_slow"
    LINK_BREAKS = "link_breaks"
    LINK_ONE_WAY = "link_one_way"
    LINK_SLOW = "link_slow"
    NODE_STOPS = "node_stops"
    AGENT_RESTARTS = "agent_restarts"
    DISK_REFUSES = "disk_refuses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong at an instant.

    which: a number from 0 to 1 that chooses among those that it can meet then; lasts_s: how long it lasts.
    """

    at_s: float
    kind: Kind
    which: float
    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How much goes wrong: faults a minute, of which kinds, and the share of tries in which a function raises."""

    per_minute: float = 0.0
    kinds: tuple[Kind, ...] = tuple(Kind)
    raises: float = 0.0


def draw_faults(faults: Faults, *, length_s: float, seed: int) -> tuple[Fault, ...]:
    """The faults of one run, in order."""
    dice = Random(f"faults/{seed}")  # noqa: S311 - made-up faults keep no secret
    drawn: list[Fault] = []
    instant = 0.0
    while faults.per_minute:
        instant += dice.expovariate(faults.per_minute / 60)
        if instant >= length_s:
            break
        kind = dice.choice(faults.kinds)
        lasts_s = dice.choice((0.05, 1.0, 4.0, 15.0)) * (0.5 + dice.random())
        drawn.append(Fault(at_s=instant, kind=kind, which=dice.random(), lasts_s=lasts_s))
    return tuple(drawn)
