"""Kept packing: the bytes of files into chunks, which are put into a store as they become full."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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

    away: where digests are made. Memory stays below some 20 MiB, beside the digests.
    """

    def __init__(self, blobs: BlobStore, away: Away = asyncio.to_thread) -> None:
        self.digests = bytearray()
        self._blobs = blobs
        self._away = away
        self._packing = Packing()

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
        """Puts the chunks that are full into the store. Raises what that raises."""
        packing = self._packing
        chunks, packing.chunks, packing.held = packing.chunks, [], 0
        if not chunks:
            return
        digests = await self._away(lambda: [digest_of(data) for _, data in chunks])
        await keep_chunks(
            self._blobs, {digest: data for digest, (_, data) in zip(digests, chunks, strict=True)}
        )
        for digest, (number, _) in zip(digests, chunks, strict=True):
            end = (number + 1) * DIGEST_BYTES
            self.digests.extend(bytes(max(0, end - len(self.digests))))
            self.digests[end - DIGEST_BYTES : end] = bytes.fromhex(digest)

    async def end(self) -> None:
        """No file comes any more: all chunks are kept."""
        self._packing.end()
        await self.keep()
