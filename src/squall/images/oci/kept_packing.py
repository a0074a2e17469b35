"""Kept packing: the bytes of files into chunks, which are put into a store as they become full."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Bytes, Digest, digest_of
from squall.blobs.kept_chunks import keep_chunks
from squall.images.oci.layer_tree import DIGEST_BYTES, Place
from squall.images.oci.packing import Packing

Away = Callable[[Callable[[], list[Digest]]], Awaitable[list[Digest]]]
"""Does work in a thread."""

_KEPT_AT_BYTES: Final = 8 << 20  # chunks are put into the store when there are so many bytes of them


class KeptPacking:
    """A Packing whose chunks are kept. digests: theirs by number, DIGEST_BYTES each, as far as they are kept.

    Chunks go into the store while further ones are made. away: where digests are made. Memory stays below some 30 MiB, beside the
    digests. Whoever makes one ends it with `close`.
    """

    def __init__(self, blobs: BlobStore, away: Away = asyncio.to_thread) -> None:
        self.digests = bytearray()
        self._blobs = blobs
        self._away = away
        self._packing = Packing()
        self._keeping: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether it is time to `keep`."""
        return self._packing.held >= _KEPT_AT_BYTES

    def begin(self, path: str, size: int) -> Place:
        """Where the bytes of the next file will be; exactly `size` of them are added then."""
        return self._packing.begin(path, size)

    def add(self, data: Bytes) -> None:
        """The next bytes of the file that was begun."""
        self._packing.add(data)

    async def keep(self) -> None:
        """Begins to put the chunks that are full into the store. Raises what became of those before them."""
        await self._kept()
        packing = self._packing
        chunks, packing.chunks, packing.held = packing.chunks, [], 0
        if chunks:
            self._keeping = asyncio.ensure_future(self._keep(chunks))

    async def end(self) -> None:
        """No file comes any more: all chunks are kept."""
        self._packing.end()
        await self.keep()
        await self._kept()

    async def close(self) -> None:
        """Keeps nothing more; nothing is left running."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _kept(self) -> None:
        if self._keeping is not None:
            await self._keeping
            self._keeping = None

    async def _keep(self, chunks: Sequence[tuple[int, bytes]]) -> None:
        digests = await self._away(lambda: [digest_of(data) for _, data in chunks])
        await keep_chunks(
            self._blobs, {digest: data for digest, (_, data) in zip(digests, chunks, strict=True)}
        )
        for digest, (number, _) in zip(digests, chunks, strict=True):
            end = (number + 1) * DIGEST_BYTES
            self.digests.extend(bytes(max(0, end - len(self.digests))))
            self.digests[end - DIGEST_BYTES : end] = bytes.fromhex(digest)
