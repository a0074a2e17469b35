"""What a local store must do beside what every store does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from squall.blobs.blob_store import LocalBlobStore
from squall.blobs.digest import digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.errors import BlobMissing

Scene = Callable[[LocalBlobStore, list[float]], Awaitable[None]]


@pytest.fixture(params=["disk", "memory"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scene], None]:
    async def run(scene: Scene) -> None:
        now = [1000.0]
        store: LocalBlobStore = MemoryBlobs(clock=lambda: now[0])
        if request.param == "disk":
            store = await DiskBlobs.open(tmp_path, lambda: now[0])
        try:
            await scene(store, now)
        finally:
            await store.close()

    return lambda scene: asyncio.run(run(scene))


def test_only_what_was_not_renewed_since_goes(play: Callable[[Scene], None]) -> None:
    async def scene(store: LocalBlobStore, now: list[float]) -> None:
        old, renewed, again = [await store.put(data) for data in (b"old", b"renewed", b"again")]
        now[0] = 2000.0
        young = await store.put(b"young")
        await store.has_many([renewed], renew=True)
        await store.put(b"again")
        absent = digest_of(b"absent")
        gone = await store.delete_old([old, renewed, again, young, absent], before_s=2000.0)
        assert [(info.digest, info.size, info.stored_s) for info in gone] == [(old, 3, 1000.0)]
        assert {info.digest async for info in store.blobs()} == {renewed, again, young}
        with pytest.raises(BlobMissing):
            await store.get(old)
        assert await store.put(b"old") == old
        assert await store.get(old) == b"old"

    play(scene)


def test_heads_and_checks(play: Callable[[Scene], None]) -> None:
    async def scene(store: LocalBlobStore, _now: list[float]) -> None:
        long, short = await store.put(b"0123456789"), await store.put(b"01")
        absent = digest_of(b"absent")
        assert await store.heads([long, short, absent], 4) == {long: b"0123", short: b"01"}
        assert await store.check(long) == 10
        with pytest.raises(BlobMissing):
            await store.check(absent)

    play(scene)
