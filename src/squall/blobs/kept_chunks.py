"""Kept chunks: read once for several files that share them, and kept unless they are there already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest
from squall.blobs.manifest import Part
from squall.model.errors import BlobCorrupt, BlobMissing

_HELD: Final = 32


class ChunkReader:
    """The chunks that were read last: small files share theirs with their neighbours.

    fetched: the bytes that came from the store; whoever holds their parts sets it back once they are written.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self.fetched = 0
        self._blobs = blobs
        self._held: OrderedDict[Digest, bytes] = OrderedDict()

    async def part(self, part: Part) -> memoryview:
        """These bytes. Raises BlobMissing, BlobCorrupt."""
        chunk = self._held.pop(part.chunk, None)
        if chunk is None:
            chunk = await self._blobs.get(part.chunk, stop=CHUNK_BYTES)
            self.fetched += len(chunk)
        self._held[part.chunk] = chunk
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        if len(chunk) < part.offset + part.length:
            raise BlobCorrupt(
                f"a file has bytes up to {part.offset + part.length} of a chunk of {len(chunk)}",
                digest=part.chunk,
            )
        return memoryview(chunk)[part.offset : part.offset + part.length]


async def keep_chunks(blobs: BlobStore, chunks: Mapping[Digest, bytes], *, forced: bool = True) -> None:
    """Has the store keep these chunks; those that are there count as stored now. forced: as in BlobStore.put."""
    here = await blobs.has_many(chunks, renew=True)
    await _put(blobs, {name: data for name, data in chunks.items() if name not in here})
    if forced:
        try:
            await blobs.force(chunks)
        except (BlobCorrupt, BlobMissing):
            # One that was here was damaged, or went: these are its bytes.
            await _put(blobs, chunks)
            await blobs.force(chunks)


async def _put(blobs: BlobStore, chunks: Mapping[Digest, bytes]) -> None:
    for name, data in chunks.items():
        await blobs.put(data, announced=name, forced=False)
