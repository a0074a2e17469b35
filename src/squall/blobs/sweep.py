"""Sweep: which blobs and copies may go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from squall.blobs.blob_store import BlobInfo
from squall.blobs.digest import Digest
from squall.blobs.tree import Tree

GRACE_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Something that can be made again: a checkout, a layer, a cached blob. size in bytes, used_s since 1970."""

    key: str
    size: int
    used_s: float


def marked(trees: Mapping[Digest, Tree], loose: Iterable[Digest]) -> frozenset[Digest]:
    """Every blob that is referred to: the trees themselves, their files, and the loose ones."""
    return frozenset(loose).union(trees, *(tree.digests for tree in trees.values()))


def removable(
    blobs: Iterable[BlobInfo],
    *,
    refs: Collection[Digest],
    leases: Mapping[Digest, float],
    now_s: float,
    grace_s: float = GRACE_S,
) -> tuple[Digest, ...]:
    """The blobs that nothing refers to, nobody holds, and that were stored before the grace period began.

    leases: until when somebody holds a blob. All instants in seconds since 1970. The grace period covers who has
    put a blob and not yet said what for; a blob from the future (a clock was set back) is kept.
    """
    return tuple(
        sorted(
            blob.digest
            for blob in blobs
            if blob.digest not in refs
            and leases.get(blob.digest, now_s) <= now_s
            and now_s - blob.stored_s > grace_s
        )
    )


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
