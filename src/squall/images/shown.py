"""Shown: what the layers of an image show together, read out of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.manifest import ROOT, Attributes, Directory, Entry, Manifest
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


class Below:
    """What layers show together, found out when it is first asked for: of most images that is never. One thread at a time."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._shown = NOTHING
        self._by_path: dict[str, Entry] | None = {}

    def add(self, layer: bytes) -> None:
        """Lays one more layer over the others, the bytes of its manifest."""
        self._waiting.append(layer)
        self._by_path = None

    def at(self, path: str) -> Entry | None:
        """What shows at a path; None: nothing. Takes a second for some ten thousand paths, once for each `add` at most."""
        if self._by_path is None:
            for layer in self._waiting:
                self._shown = _stacked(self._shown, layer)
            self._waiting.clear()
            self._by_path = {entry.path: entry for entry in self._shown.entries}
        return self._by_path.get(path)


def _stacked(shown: Manifest, layer: bytes) -> Manifest:
    return stack(shown, decode(layer))
