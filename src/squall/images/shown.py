"""Shown: what the layers of an image show together, read out of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.manifest import ROOT, Attributes, Directory, Manifest
from squall.blobs.manifest_bytes import decode
from squall.blobs.stack import stack

NOTHING: Final = Manifest((Directory(path=ROOT, attributes=Attributes(mode=0o755)),))
"""What no layer shows: a root that has nothing in it."""


async def shown_by(layers: Sequence[Digest], blobs: BlobStore) -> Manifest:
    """All that these layers show, the lowest first. Raises TreeInvalid for trees that are none, and what the store raises."""
    shown = NOTHING
    for layer in layers:
        shown = await laid_over(shown, layer, blobs)
    return shown


async def laid_over(shown: Manifest, layer: Digest, blobs: BlobStore) -> Manifest:
    """What a layer shows over what is shown already."""
    # In a thread: some ten thousand paths take a second, in which the loop has others to serve.
    return await asyncio.to_thread(_stacked, shown, await blobs.get(layer))


def _stacked(shown: Manifest, layer: bytes) -> Manifest:
    return stack(shown, decode(layer))
