"""Scrub: reads every blob again, slowly, so that damage is found while others still have the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from squall.blobs.blob_store import LocalBlobStore
from squall.blobs.digest import Digest
from squall.blobs.old_blobs import OldBlobs
from squall.model.errors import BlobCorrupt, BlobMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A blob that was read; size in bytes. damaged: it was something else, and has been put aside."""

    digest: Digest
    size: int = 0
    damaged: bool = False


async def scrub(store: LocalBlobStore, *, bytes_s: float, after: str = "") -> AsyncIterator[Checked]:
    """Every blob above `after` in the order of the digests, as soon as it was read; 50 bytes of memory for each.

    bytes_s: how many are read in a second at most. What goes meanwhile is left out. Raises what the store raises.
    """
    listed = OldBlobs()
    async for info in store.blobs():
        if info.digest > after:
            listed.add(info.digest)
    listed.close()
    for digest in listed.with_marks(0, among=0):
        try:
            size = await store.check(digest)
        except BlobMissing:
            continue
        except BlobCorrupt:
            yield Checked(digest=digest, damaged=True)
            continue
        yield Checked(digest=digest, size=size)
        await asyncio.sleep(size / bytes_s)
