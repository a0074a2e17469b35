"""Kept chunks: read once for several files that share them, and kept unless they are there already."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import islice
from typing import Final

from squall.blobs.at_once import at_once
from squall.blobs.blob_store import BlobStore
from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest
from squall.blobs.manifest import File, Part
from squall.model.errors import BlobCorrupt, BlobMissing

_HELD: Final = 32
_AT_ONCE: Final = 16
_LOOKED_AHEAD: Final = 64


class ChunkReader:
    """The chunks that were read last, and those that are due next: small files share theirs with their neighbours, or have one each.

    fetched: the bytes that came from the store; whoever holds their parts sets it back once they are written.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self.fetched = 0
        self._blobs = blobs
        self._held: OrderedDict[Digest, bytes] = OrderedDict()

    async def part(self, part: Part, following: Iterable[Part] = ()) -> memoryview:
        """These bytes. following: what is asked for next, some of which is read with it. Raises BlobMissing, BlobCorrupt."""
        if part.chunk not in self._held:
            await self._read(part, following)
        return self.at_hand(part)

    def has(self, part: Part) -> bool:
        """Whether these bytes are at hand."""
        return part.chunk in self._held

    def at_hand(self, part: Part) -> memoryview:
        """These bytes, which are. Raises BlobCorrupt."""
        self._held.move_to_end(part.chunk)
        chunk = self._held[part.chunk]
        if len(chunk) < part.offset + part.length:
            raise BlobCorrupt(
                f"a file has bytes up to {part.offset + part.length} of a chunk of {len(chunk)}",
                digest=part.chunk,
            )
        return memoryview(chunk)[part.offset : part.offset + part.length]

    async def _read(self, part: Part, following: Iterable[Part]) -> None:
        due = dict.fromkeys(
            one.chunk for one in islice(following, _LOOKED_AHEAD) if one.chunk not in self._held
        )
        wanted = [part.chunk, *islice((chunk for chunk in due if chunk != part.chunk), _AT_ONCE - 1)]
        read = await asyncio.gather(*(self._blobs.get(chunk, stop=CHUNK_BYTES) for chunk in wanted))
        for chunk, data in zip(wanted, read, strict=True):
            self._held[chunk] = data
            self.fetched += len(data)
        while len(self._held) > _HELD:
            self._held.popitem(last=False)


async def file_bytes(file: File, blobs: BlobStore) -> AsyncIterator[memoryview]:
    """The bytes of a file, part by part. Raises BlobMissing, BlobCorrupt."""
    chunks = ChunkReader(blobs)
    for number, part in enumerate(file.parts, 1):
        yield await chunks.part(part, islice(file.parts, number, None))


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
    async def put(name: Digest) -> Digest:
        return await blobs.put(chunks[name], announced=name, forced=False)

    await at_once(put, chunks)
