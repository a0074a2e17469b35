"""Collect: takes away what nobody refers to, beside all who put, renew and read, in one pass over a store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from squall import faults
from squall.blobs.blob_store import LocalBlobStore
from squall.blobs.digest import Digest
from squall.blobs.naming import HEAD_BYTES, Names, names_others
from squall.blobs.old_blobs import GONE, NAMED, NAMES, STAYS, OldBlobs
from squall.model.errors import BlobCorrupt, BlobMissing

_AT_ONCE: Final = 64
_PIECE: Final = 32 << 10  # a millisecond of this process, whatever else it does

_MARKED = faults.declare("collect.marked", "all that stays is known, and nothing has gone")
_TAKEN = faults.declare("collect.taken", "some that named others have gone, and those are still there")

Roots = Callable[[], Awaitable[Iterable[Digest]]]
"""What is referred to from outside the store, as it is when this is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection took away, and what it found damaged or missing on its way. freed: bytes."""

    blobs: int = 0
    freed: int = 0
    broken: tuple[Digest, ...] = ()


async def collect(store: LocalBlobStore, roots: Roots, *, before_s: float) -> Collected:
    """Takes what `squall.blobs.sweep.collect_plan` says, in its turns; before_s: the cutoff, found before it begins.

    Roots are asked for once all old blobs are listed. Whoever refers to a blob from then on has put or renewed it
    since the cutoff, itself or by renewing a tree or manifest that names it: those go before what they name, and one
    that was renewed meanwhile keeps all of it. So it may end at any moment, by a kill too. It takes half of a core at
    most, and 50 bytes of memory for each old blob, beside a list of the trees and manifests that are not old.

    Raises what the store and `roots` raise; less has gone then.
    """
    return await _Collecting(store, before_s).run(roots)


class _Collecting:
    """One collection."""

    def __init__(self, store: LocalBlobStore, before_s: float) -> None:
        self._store = store
        self._before_s = before_s
        self._old = OldBlobs()
        self._scan: list[Digest] = []
        self._broken: list[Digest] = []
        self._count = self._freed = 0

    async def run(self, roots: Roots) -> Collected:
        async for info in self._store.blobs():
            if info.stored_s < self._before_s:
                self._old.add(info.digest)
        if len(self._old):
            self._old.close()
            await self._look()
            for digest in await roots():
                self._stay(digest)
            await self._reach()
            faults.point(_MARKED)
            while await self._take_turn():
                faults.point(_TAKEN)
        return Collected(blobs=self._count, freed=self._freed, broken=tuple(self._broken))

    async def _look(self) -> None:
        """Finds those that name others. Young ones stay with all that they name."""
        held: dict[Digest, bool] = {}
        async for info in self._store.blobs():
            held[info.digest] = info.stored_s >= self._before_s
            if len(held) >= _AT_ONCE:
                await self._look_at(held)
                held.clear()
        await self._look_at(held)

    async def _look_at(self, held: dict[Digest, bool]) -> None:
        for digest, head in (await self._store.heads(held, HEAD_BYTES)).items():
            if not names_others(head):
                continue
            if self._old.mark(digest, NAMES) is None or held[digest]:
                self._old.mark(digest, STAYS)
                self._scan.append(digest)

    def _stay(self, digest: Digest) -> None:
        """This one stays, and if it names others, so will they."""
        before = self._old.mark(digest, STAYS)
        if before is not None and before & NAMES and not before & STAYS:
            self._scan.append(digest)

    async def _reach(self) -> None:
        """Marks all that is named by what stays."""
        while self._scan:
            digest = self._scan.pop()
            try:
                async for named in self._named_by(digest):
                    self._stay(named)
            except (BlobMissing, BlobCorrupt):
                self._broken.append(digest)

    async def _take_turn(self) -> bool:
        """Takes the next ones that no other one which goes names; whether there may be more."""
        self._old.clear(NAMED)
        naming = False
        for digest in self._old.with_marks(NAMES, among=NAMES | STAYS | GONE):
            naming = True
            # What is damaged names nobody, and goes like any other.
            with contextlib.suppress(BlobMissing, BlobCorrupt):
                async for named in self._named_by(digest):
                    if named != digest:
                        self._old.mark(named, NAMED)
        kind = NAMES if naming else 0
        free = self._old.with_marks(kind, among=kind | STAYS | GONE | NAMED)
        while batch := tuple(islice(free, _AT_ONCE)):
            await self._take(batch, renewed_stay=naming)
        await self._reach()
        return naming

    async def _take(self, batch: Collection[Digest], *, renewed_stay: bool) -> None:
        started_s = time.monotonic()
        gone = await self._store.delete_old(batch, before_s=self._before_s)
        self._count += len(gone)
        self._freed += sum(info.size for info in gone)
        left = set(batch) - {info.digest for info in gone}
        for info in gone:
            self._old.mark(info.digest, GONE)
        if renewed_stay and left:
            for digest in await self._store.has_many(left):
                self._stay(digest)
            for digest in left:
                self._old.mark(digest, GONE)  # it was renewed, or is gone by another hand: not asked again
        await _pause(started_s)

    async def _named_by(self, digest: Digest) -> AsyncIterator[Digest]:
        names = Names()
        async for part in self._store.stream(digest):
            for piece in _pieces(part):
                started_s = time.monotonic()
                for named in names.feed(piece):
                    yield named
                await _pause(started_s)


async def _pause(started_s: float) -> None:
    """Leaves as much time to others as was taken since then."""
    await asyncio.sleep(time.monotonic() - started_s)


def _pieces(part: bytes) -> Iterator[memoryview]:
    whole = memoryview(part)
    return (whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE))
