"""Sweep: which blobs and copies may go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from squall.blobs.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Something that can be made again: a checkout, a layer, a cached blob. size in bytes, used_s since 1970."""

    key: str
    size: int
    used_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Somebody puts blobs, and will say later what for. since_s: when it began; until_s: when it counts as given up."""

    since_s: float
    until_s: float


def cutoff(*, now_s: float, grace_s: float, leases: Iterable[Lease]) -> float:
    """The instant before which a blob was stored and renewed last that a collection which begins now may take.

    All instants in seconds since 1970. A collection keeps to this one to its end: what is stored or renewed after
    its beginning is none of its business, however long it takes and however short the grace is.
    """
    begun = [lease.since_s for lease in leases if lease.until_s > now_s]
    return min(now_s - grace_s, *begun, now_s)


def collect_plan(
    blobs: Mapping[Digest, tuple[float, Collection[Digest]]], *, roots: Collection[Digest], before_s: float
) -> tuple[frozenset[Digest], ...]:
    """What a collection takes, in turns: blobs that others name go in a later turn than all that name them.

    blobs: for each when it was stored or renewed last, and what it names. before_s: the cutoff. What stays is all that
    is younger, all roots, and all that is named, over any number of steps, by what stays.
    """
    staying = {digest for digest, (stored_s, _) in blobs.items() if stored_s >= before_s or digest in roots}
    coming = list(staying)
    while coming:
        named = {digest for digest in blobs[coming.pop()][1] if digest in blobs}
        coming.extend(named - staying)
        staying |= named
    going, turns = blobs.keys() - staying, []
    while going:
        named = {digest for one in going for digest in blobs[one][1] if digest != one}
        turns.append(frozenset(going - named or going))
        going -= turns[-1]
    return tuple(turns)


def evicted(copies: Iterable[Copy], *, in_use: Collection[str], budget_bytes: int) -> tuple[str, ...]:
    """The copies to remove, longest unused first, until the rest fits the budget; those in use stay in any case."""
    held = list(copies)
    excess = sum(copy.size for copy in held) - budget_bytes
    going: list[str] = []
    for copy in sorted(held, key=lambda copy: (copy.used_s, copy.key)):
        if excess <= 0:
            break
        if copy.key not in in_use:
            going.append(copy.key)
            excess -= copy.size
    return tuple(going)


def room_for(
    coming_bytes: int, copies: Iterable[Copy], *, in_use: Collection[str], budget_bytes: int
) -> tuple[str, ...] | None:
    """The copies to remove so that coming_bytes fit into the budget beside the rest; None where they never can.

    Nothing goes in vain: none if there is room, and none for what does not fit. Else those unused for the longest
    go, and a tenth of the budget more than is needed, so that not each newcomer has to look through all of them.
    """
    held = list(copies)
    if sum(copy.size for copy in held) + coming_bytes <= budget_bytes:
        return ()
    staying = sum(copy.size for copy in held if copy.key in in_use)
    if staying + coming_bytes > budget_bytes:
        return None
    return evicted(held, in_use=in_use, budget_bytes=budget_bytes - coming_bytes - budget_bytes // 10)
