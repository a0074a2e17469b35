"""Broken: images of which a blob is damaged or gone. They are forgotten, and so built again at their next use."""

from __future__ import annotations

import asyncio

from squall.blobs.blob_store import BlobStore
from squall.blobs.certain import certain
from squall.blobs.digest import Digest
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.model.errors import BlobCorrupt, BlobMissing


async def forget_broken(kept: Kept, blobs: BlobStore) -> tuple[Built, ...]:
    """The images that were forgotten because not every blob that their layers name is here; the others stay.

    Every image with a broken layer goes, so the next build begins with the highest layer that is whole. Chunks are
    looked for and not read: what is found damaged was put aside by whoever found it.
    """
    images = [built for built, _ in await asyncio.to_thread(kept.all)]
    whole: dict[str, bool] = {}
    for tree in dict.fromkeys(tree for built in images for tree in built.trees):
        try:
            await certain(blobs, [Digest(tree)])
            whole[tree] = True
        except (BlobMissing, BlobCorrupt):
            whole[tree] = False
    broken = [built for built in images if not all(whole[tree] for tree in built.trees)]
    for built in broken:
        await asyncio.to_thread(kept.drop, built.key)
    return tuple(broken)
