"""All blob stores pass the same checks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from squall.blobs.blob_store import BlobStore
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.read_through import ReadThroughBlobs
from squall.blobs.s3_blobs import S3Blobs
from squall.blobs.tiered_blobs import TieredBlobs
from squall.testing.conformance import blob_store

_BUDGET = 16 << 20


async def make(kind: str, directory: Path, request: pytest.FixtureRequest) -> BlobStore:
    match kind:
        case "memory":
            return MemoryBlobs()
        case "disk":
            return await DiskBlobs.open(directory / "blobs")
        case "s3":
            return await S3Blobs.open(request.getfixturevalue("address"))
        case "read-through":
            near = await DiskBlobs.open(directory / "near")
            return ReadThroughBlobs(near, await DiskBlobs.open(directory / "far"))
        case "tiered":
            return await TieredBlobs.open(MemoryBlobs(), await DiskBlobs.open(directory / "near"), _BUDGET)
        case _:
            far = await S3Blobs.open(request.getfixturevalue("address"))
            return await TieredBlobs.open(far, await DiskBlobs.open(directory / "near"), _BUDGET)


@pytest.mark.parametrize(
    "kind",
    [
        "memory",
        "disk",
        "tiered",
        "read-through",
        pytest.param("s3", marks=pytest.mark.needs("linux")),
        pytest.param("tiered-s3", marks=pytest.mark.needs("linux")),
    ],
)
@pytest.mark.parametrize("check", blob_store.CHECKS, ids=lambda check: check.__name__)
def test_blob_store(
    kind: str, check: blob_store.Check, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async def run() -> None:
        store = await make(kind, tmp_path, request)
        try:
            await check(store)
        finally:
            await store.close()

    asyncio.run(run())
