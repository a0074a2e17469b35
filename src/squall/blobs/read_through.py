"""Read through: a node's own blobs, and behind them those of a server, which are fetched when they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Collection
from typing import Protocol

from squall.blobs.at_once import at_once
from squall.blobs.blob_store import BlobInfo, LocalBlobStore
from squall.blobs.digest import Bytes, Digest
from squall.blobs.manifest import File
from squall.blobs.manifest_bytes import Reader
from squall.model.errors import BlobCorrupt, BlobMissing


class FarBlobs(Protocol):
    """Where blobs are fetched from."""

    def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        """The parts of a blob, not verified. Raises BlobMissing; ConnectionError where nobody can be asked."""
        ...


class ReadThroughBlobs:
    """A BlobStore whose blobs are `near`; a read of one that is not there fetches it from `far`, once however many ask.

    Everything else is about what is near alone: what is put stays here. What is fetched is verified before it is kept,
    and a blob that was found damaged is fetched anew.
    """

    def __init__(self, near: LocalBlobStore, far: FarBlobs) -> None:
        self.near = near
        self._far = far
        self._flights: dict[Digest, asyncio.Task[None]] = {}

    async def bring(self, manifest: Digest) -> None:
        """Makes a directory's manifest and all that it is made of near. Raises BlobMissing, TreeInvalid, ConnectionError."""
        reader, chunks = Reader(), set[Digest]()
        async for part in self.stream(manifest):
            for entry in reader.feed(part):
                if isinstance(entry, File):
                    chunks.update(one.chunk for one in entry.parts)
        reader.end()
        await at_once(self._fetch, chunks - await self.near.has_many(chunks, renew=True))

    async def put(
        self,
        data: Bytes | AsyncIterable[Bytes],
        *,
        announced: Digest | None = None,
        forced: bool = True,
    ) -> Digest:
        return await self.near.put(data, announced=announced, forced=forced)

    async def get(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> bytes:
        try:
            return await self.near.get(digest, start=start, stop=stop)
        except (BlobMissing, BlobCorrupt):
            await self._fetch(digest)
            return await self.near.get(digest, start=start, stop=stop)

    async def get_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        return await at_once(self.get, frozenset(digests))

    async def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        begun = False
        try:
            async for part in self.near.stream(digest):
                begun = True
                yield part
        except (BlobMissing, BlobCorrupt):
            if begun:
                raise
        else:
            return
        await self._fetch(digest)
        async for part in self.near.stream(digest):
            yield part

    async def has_many(self, digests: Collection[Digest], *, renew: bool = False) -> frozenset[Digest]:
        return await self.near.has_many(digests, renew=renew)

    async def force(self, digests: Collection[Digest]) -> None:
        await self.near.force(digests)

    async def delete(self, digests: Collection[Digest]) -> int:
        return await self.near.delete(digests)

    async def blobs(self) -> AsyncIterator[BlobInfo]:
        async for info in self.near.blobs():
            yield info

    async def close(self) -> None:
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self.near.close()

    async def _fetch(self, digest: Digest) -> None:
        flight = self._flights.get(digest)
        if flight is None:
            flight = asyncio.ensure_future(self._fly(digest))
            self._flights[digest] = flight
            flight.add_done_callback(lambda ended: self._landed(digest, ended))
        # Who stops waiting does not stop the others.
        await asyncio.shield(flight)

    def _landed(self, digest: Digest, flight: asyncio.Task[None]) -> None:
        del self._flights[digest]
        if not flight.cancelled():
            flight.exception()  # seen: perhaps nobody waits any more

    async def _fly(self, digest: Digest) -> None:
        # Whoever has it sends it again: a power cut that damages it costs one more fetch.
        await self.near.put(self._far.stream(digest), announced=digest, forced=False)
