"""Liveness: what a node's silence says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """Alive: gets work. Suspect: gets no new work. Dead: what it has in hand runs elsewhere, where there is elsewhere."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long silence may last, in seconds: between signs of life, until suspicion, until death."""

    heartbeat_s: float = 1.0
    suspect_after_s: float = 3.0
    dead_after_s: float = 10.0


def health(silence_s: float, patience: Patience) -> Health:
    """What is believed of a node that has been silent for so long."""
    if silence_s >= patience.dead_after_s:
        return Health.DEAD
    return Health.SUSPECT if silence_s >= patience.suspect_after_s else Health.ALIVE


def was_away(slept_s: float, patience: Patience) -> bool:
    """Whether who looks was itself stopped since it looked last: then silence says nothing of the others."""
    return slept_s > 2 * patience.heartbeat_s + 0.5
