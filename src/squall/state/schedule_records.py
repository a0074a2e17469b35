"""Schedule records: what the state store keeps about a schedule and about each of its ticks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from squall.model.deploy import DeployedName
from squall.model.ids import CallId

MOST_TICKS: Final = 100
"""How many ticks of a schedule are remembered; its floor stands where the others were."""


class TickState(StrEnum):
    """What became of an instant.

    It is on record that it is called for (taken); its call is on record (called); the call of an earlier one still ran (skipped);
    it could not be called (refused).
    """

    TAKEN = "taken"
    CALLED = "called"
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, order=True)
class ScheduleKey:
    """A function of a deployed app, whichever version serves."""

    deployed: DeployedName
    function: str

    def __str__(self) -> str:
        return f"{self.function} of {self.deployed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecord:
    """A schedule; see `squall.scheduling.ticks.Timetable`.

    rule: the JSON of a `squall.model.schedule.Schedule`. salt: hexadecimal digits. missed, missed_s: how many instants were left
    out because nobody was there, and the last of them. Instants in seconds since 1970.
    """

    key: ScheduleKey
    rule: str
    salt: str
    anchor_s: float
    seen_s: float
    floor_s: float = 0.0
    missed: int = 0
    missed_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRecord:
    """An instant of a schedule that was called for, or is to be. taken_s: when that was decided. why: for people."""

    key: ScheduleKey
    at_s: float
    call: CallId
    taken_s: float
    state: TickState = TickState.TAKEN
    why: str = ""
