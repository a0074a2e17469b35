"""Certain: that what is about to be referred to is here, all of it, and stays for now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.naming import Names
from squall.model.errors import BlobMissing

_AT_ONCE: Final = 1024


async def certain(blobs: BlobStore, trees: Iterable[Digest]) -> None:
    """Returns once all these trees or manifests, and every blob that they name, were here and count as stored now.

    Called before a reference to them is kept: from then on the reference holds them, and until then their age does.
    Chunks are not read. Raises BlobMissing, naming one that is not here, and BlobCorrupt for a damaged manifest.
    """
    for tree in dict.fromkeys(trees):
        names, held = Names(), set[Digest]()
        async for part in blobs.stream(tree):
            held.update(await asyncio.to_thread(list, names.feed(part)))
            if len(held) >= _AT_ONCE:
                await _renewed(blobs, held)
                held.clear()
        await _renewed(blobs, held | {tree})


async def _renewed(blobs: BlobStore, wanted: set[Digest]) -> None:
    for digest in wanted - await blobs.has_many(wanted, renew=True):
        raise BlobMissing(f"there is no blob {digest}, and something is about to refer to it", digest=digest)
