"""Chunks that are read once for the files that share them, and together where they are due one after the other."""

from __future__ import annotations

import asyncio

import pytest

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest, digest_of
from squall.blobs.kept_chunks import ChunkReader, file_bytes
from squall.blobs.manifest import Attributes, File, Part
from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.errors import BlobCorrupt, BlobMissing


class Counted(MemoryBlobs):
    """Counts what is read, and how much of it at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Digest] = []
        self.now = self.most = 0

    async def get(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> bytes:
        self.read.append(digest)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await super().get(digest, start=start, stop=stop)


def test_each_chunk_is_read_once_and_several_at_a_time() -> None:
    async def work() -> None:
        blobs = Counted()
        chunks = [b"%d" % number * 10 for number in range(100)]
        parts = [Part(chunk=await blobs.put(data), offset=at, length=5) for data in chunks for at in (0, 5)]
        reader = ChunkReader(blobs)
        for number, part in enumerate(parts):
            assert (
                bytes(await reader.part(part, parts[number + 1 :])) == chunks[number // 2][part.offset :][:5]
            )
        assert sorted(blobs.read) == sorted({part.chunk for part in parts})
        assert 8 <= blobs.most <= 16
        assert reader.fetched == sum(map(len, chunks))

    asyncio.run(work())


def test_a_file_is_given_part_by_part() -> None:
    async def work() -> None:
        blobs = MemoryBlobs()
        data = bytes(range(256)) * (5 * CHUNK_BYTES // 512)
        pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        parts = tuple([Part(chunk=await blobs.put(one), offset=0, length=len(one)) for one in pieces])
        file = File(path="f", attributes=Attributes(mode=0o644), size=len(data), parts=parts)
        assert b"".join([bytes(part) async for part in file_bytes(file, blobs)]) == data

    asyncio.run(work())


def test_a_chunk_that_is_missing_or_too_short_is_an_error_of_the_store() -> None:
    async def work() -> None:
        blobs = MemoryBlobs()
        short = Part(chunk=await blobs.put(b"short"), offset=2, length=4)
        with pytest.raises(BlobCorrupt, match="bytes up to 6 of a chunk of 5"):
            await ChunkReader(blobs).part(short)
        with pytest.raises(BlobMissing):
            await ChunkReader(blobs).part(Part(chunk=digest_of(b"none"), offset=0, length=4), [short])

    asyncio.run(work())
