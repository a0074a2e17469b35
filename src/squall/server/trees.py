"""Trees: manifests of volumes, read from the blobs and kept at hand for as long as they are small and used."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest, digest_of
from squall.blobs.manifest import Manifest
from squall.blobs.manifest_bytes import Reader, encode
from squall.model.errors import ResourceExhaustedError

MOST_PATHS: Final = 500_000
"""Of one volume: half of what a manifest could hold, for each takes some hundred bytes of memory here."""

_MOST_KEPT: Final = 200_000
_LONGEST_LINE: Final = 16 << 20


class Trees:
    """Manifests by their digests. The last used stay at hand, up to `most_kept` paths of them together."""

    def __init__(self, blobs: BlobStore, *, most_kept: int = _MOST_KEPT) -> None:
        self._blobs = blobs
        self._most_kept = most_kept
        self._kept: OrderedDict[Digest, Manifest] = OrderedDict()

    async def get(self, digest: Digest) -> Manifest:
        """The tree or layer of this digest. Raises BlobMissing, BlobCorrupt, TreeInvalid, ResourceExhaustedError."""
        known = self._kept.get(digest)
        if known is not None:
            self._kept.move_to_end(digest)
            return known
        reader, entries = Reader(most=_LONGEST_LINE), []
        async for part in self._blobs.stream(digest):
            entries += await asyncio.to_thread(reader.feed, part)
            _check(len(entries))
        reader.end()
        tree = await asyncio.to_thread(Manifest, tuple(entries))
        self._keep(digest, tree)
        return tree

    async def put(self, tree: Manifest) -> Digest:
        """Keeps a tree, on disk when this returns; its digest. Raises ResourceExhaustedError, and what the store raises."""
        _check(len(tree.entries))
        data = await asyncio.to_thread(encode, tree)
        digest = await self._blobs.put(data, announced=await asyncio.to_thread(digest_of, data))
        # It may have been here before, put by somebody who did not wait for the disk.
        await self._blobs.force([digest])
        self._keep(digest, tree)
        return digest

    def _keep(self, digest: Digest, tree: Manifest) -> None:
        self._kept[digest] = tree
        self._kept.move_to_end(digest)
        while sum(len(one.entries) for one in self._kept.values()) > self._most_kept:
            self._kept.popitem(last=False)


def _check(count: int) -> None:
    if count > MOST_PATHS:
        raise ResourceExhaustedError(
            f"a volume has at most {MOST_PATHS:,} files and directories",
            remedy="remove some, pack small files into archives, or use several volumes",
        )
