"""Records of Dicts and Queues: what there is, what is changed, and what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from squall.model.ids import LaneId, SharedId
from squall.model.shared import MAIN, Bounds, SharedKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRecord:
    """A Dict or a Queue. name: empty for an ephemeral one, which has no name and ends with its client."""

    id: SharedId
    kind: SharedKind
    created_s: float
    name: str = ""
    environment: str = MAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSize:
    """How much an object holds. partitions: of a Queue, those that have not ended."""

    shared: SharedRecord
    entries: int = 0
    size_bytes: int = 0
    partitions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Which change of which lane. A lane has one change at a time, and its numbers rise.

    A change that is sent again, as its answer was lost, is answered as it was, and changes nothing. at_s: now, in seconds
    since 1970.
    """

    lane: LaneId
    number: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PutEntries:
    """Puts entries into a Dict, all or none. only_new: leaves keys as they are that are there."""

    of: SharedId
    turn: Turn
    entries: Sequence[tuple[bytes, bytes]]
    bounds: Bounds
    only_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PopEntry:
    """Takes a key out of a Dict; the answer has its value."""

    of: SharedId
    turn: Turn
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PutItems:
    """Puts items at the end of a partition, all or none, and has it last so much longer."""

    of: SharedId
    turn: Turn
    values: Sequence[bytes]
    bounds: Bounds
    partition: str = ""
    ttl_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeItems:
    """Takes items from the beginning of a partition: as many as are there, up to `most`, and up to `most_bytes` after the first."""

    of: SharedId
    turn: Turn
    most: int
    most_bytes: int
    partition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """Puts back, where they were, what the change of this very turn took, or keeps it from taking any."""

    of: SharedId
    turn: Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """Removes all entries of a Dict or all items of a partition; of every one where partition is None."""

    of: SharedId
    turn: Turn
    partition: str | None = None


Change = PutEntries | PopEntry | PutItems | TakeItems | GiveBack | Clear


class Said(StrEnum):
    """How a change ended. DONE: it was made, now or when it was sent first. Else nothing was changed.

    GONE: no such object. FULL: no room. STALE: its lane has gone on since.
    """

    DONE = "done"
    GONE = "gone"
    FULL = "full"
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a change is answered.

    count: entries that were put and are new, items put, entries or items removed, or items given back. values: what was
    taken. free_s: when a partition that is full ends, in seconds since 1970.
    """

    said: Said = Said.DONE
    count: int = 0
    values: tuple[bytes, ...] = ()
    free_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item of a partition. no: its place; those of later items are higher."""

    no: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """How much to give of what an object holds: `most` of them, and `most_bytes` after the first.

    only_keys: of entries, their keys with empty values.
    """

    most: int
    most_bytes: int
    only_keys: bool = False
