"""Call: one invocation or one map, and how its inputs can end."""

from __future__ import annotations

from enum import IntEnum, StrEnum

LARGEST_VALUE = 4 * 2**30
"""Bytes of the arguments, and of the result, of one input, unless a server is set otherwise."""


CANCELLED_CODE = "SQ-1306"
"""The code of InputCancelled: an input that ended so was given up by who made it."""


class Verb(StrEnum):
    """How a call was made; the durable ones are on disk before the client hears of them."""

    REMOTE = "remote"
    MAP = "map"
    SPAWN = "spawn"
    SPAWN_MAP = "spawn_map"

    @property
    def durable(self) -> bool:
        """Whether the call outlives its client."""
        return self in (Verb.SPAWN, Verb.SPAWN_MAP)


class OutcomeKind(IntEnum):
    """How an input ended.

    RETURNED and RAISED carry what the user's function gave, opaque to everything between runner and client;
    FAILED carries the JSON of one of our errors (lost, timeout, out of memory, cancelled, …).
    """

    RETURNED = 0
    RAISED = 1
    FAILED = 2


class CallState(StrEnum):
    """Where a call stands."""

    OPEN = "open"
    ENDED = "ended"
    CANCELLED = "cancelled"
