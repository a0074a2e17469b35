"""Shared object: a Dict or a Queue, what it may be called, and how much it may hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from squall.model.errors import SharedNameInvalid
from squall.model.ids import DICT, QUEUE

MAIN: Final = "main"
"""The environment of what names none."""

MOST_KEY_BYTES: Final = 1024
MOST_VALUE_BYTES: Final = 2 * 2**20
MOST_AT_ONCE: Final = 1000
"""Entries or items of one message."""

MOST_BYTES_AT_ONCE: Final = 3 * 2**20
"""Bytes of them together: with the largest key and value on top, still less than a frame holds."""

SHORTEST_TTL_S: Final = 1.0
LONGEST_TTL_S: Final = 7 * 86_400.0
TTL_S: Final = 86_400.0
"""How long a partition is kept after the last `put` into it."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SharedKind(StrEnum):
    """What a shared object is."""

    DICT = "dict"
    QUEUE = "queue"

    @property
    def prefix(self) -> str:
        """What its ids begin with."""
        return DICT if self is SharedKind.DICT else QUEUE

    @property
    def word(self) -> str:
        """What users call it."""
        return "Dict" if self is SharedKind.DICT else "Queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much one object may hold. entries and size_bytes: of a Dict, or of each partition of a Queue."""

    entries: int
    size_bytes: int = 256 * 2**20
    partitions: int = 10_000


MOST_OF_DICT: Final = Bounds(entries=1_000_000)
MOST_OF_QUEUE: Final = Bounds(entries=100_000)
MOST_OBJECTS: Final = 10_000
"""Of a kind, in one record."""


def check_name(text: Any, what: str) -> str:
    """`text`, a name for `what`. Raises SharedNameInvalid."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise SharedNameInvalid(f"{text!r:.90} is no name for {what}")
    return text


def check_partition(text: Any) -> str:
    """The name of a partition; None is the one that has none, which is empty here. Raises SharedNameInvalid."""
    return "" if text is None else check_name(text, "a partition")
