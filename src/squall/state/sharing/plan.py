"""What becomes of a change to a Dict or a Queue: decided here, for every store alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from squall.model.shared import Bounds


class Order(Enum):
    """Where a change stands in its lane: the next one, the last one sent again, or one that is past."""

    NEXT = "next"
    AGAIN = "again"
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """How much a Dict or a partition holds."""

    entries: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Puts:
    """What to write into a Dict, and how full it is then. None of it where `fill` is None: there is no room."""

    writes: Mapping[bytes, bytes]
    new: int
    fill: Fill | None


def order_in_lane(last: int | None, number: int) -> Order:
    """Where `number` stands in a lane whose last change on record is `last`."""
    if last is None or number > last:
        return Order.NEXT
    return Order.AGAIN if number == last else Order.STALE


def plan_puts(
    entries: Sequence[tuple[bytes, bytes]],
    sizes: Mapping[bytes, int],
    fill: Fill,
    bounds: Bounds,
    *,
    only_new: bool,
) -> Puts:
    """What putting entries comes to. sizes: bytes of the values that are there, of those keys that are.

    What takes no more room than before is never refused.
    """
    writes: dict[bytes, bytes] = {}
    for key, value in entries:
        if not (only_new and (key in sizes or key in writes)):
            writes[key] = value
    new = sum(key not in sizes for key in writes)
    more = sum(
        len(value) - sizes[key] if key in sizes else len(key) + len(value) for key, value in writes.items()
    )
    after = Fill(entries=fill.entries + new, size_bytes=fill.size_bytes + more)
    refused = (new > 0 and after.entries > bounds.entries) or (
        more > 0 and after.size_bytes > bounds.size_bytes
    )
    return Puts(writes=writes, new=new, fill=None if refused else after)


def plan_items(values: Sequence[bytes], fill: Fill, bounds: Bounds) -> Fill | None:
    """How full a partition is with these items; None where there is no room for all of them."""
    after = Fill(entries=fill.entries + len(values), size_bytes=fill.size_bytes + sum(map(len, values)))
    return None if after.entries > bounds.entries or after.size_bytes > bounds.size_bytes else after


def plan_page(sizes: Iterable[int], *, most: int, most_bytes: int) -> int:
    """How many of the first of these go together: always one, where there is any and `most` allows it."""
    count = total = 0
    for size in sizes:
        if count >= most or (count and total + size > most_bytes):
            break
        count, total = count + 1, total + size
    return count


def has_ended(expires_s: float | None, now_s: float) -> bool:
    """Whether a partition is past its time: it is empty then, whatever it holds."""
    return expires_s is not None and expires_s <= now_s
