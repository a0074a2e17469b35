"""Both blob stores pass the same checks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from squall.blobs.blob_store import BlobStore
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.memory_blobs import MemoryBlobs
from squall.testing.conformance import blob_store


async def make(kind: str, directory: Path) -> BlobStore:
    return MemoryBlobs() if kind == "memory" else await DiskBlobs.open(directory / "blobs")


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("check", blob_store.CHECKS, ids=lambda check: check.__name__)
def test_blob_store(kind: str, check: blob_store.Check, tmp_path: Path) -> None:
    async def run() -> None:
        store = await make(kind, tmp_path)
        try:
            await check(store)
        finally:
            await store.close()

    asyncio.run(run())
