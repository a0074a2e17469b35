"""What a machine that joined keeps of blobs, and what goes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from squall.agent.collecting import NodeCollecting
from squall.agent.evicting import Needed
from squall.blobs.digest import digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.leases import Leases
from squall.blobs.manifest import Attributes, Directory, File, Manifest, Part
from squall.blobs.manifest_bytes import encode
from squall.model.errors import ConflictError
from squall.settings.paths import StatePaths, open_state

pytestmark = pytest.mark.needs("linux")
NOTHING = Needed(names=frozenset())


def tree_of(data: bytes) -> bytes:
    """The manifest of a directory with one file."""
    file = Attributes(mode=0o644, uid=0, gid=0, mtime_ns=0)
    top = Directory(path="", attributes=Attributes(mode=0o755, uid=0, gid=0, mtime_ns=0))
    part = Part(chunk=digest_of(data), offset=0, length=len(data))
    return encode(Manifest(entries=(top, File(path="f", attributes=file, size=len(data), parts=(part,)))))


def play(tmp_path: Path, work: Callable[[DiskBlobs, StatePaths], Awaitable[None]]) -> None:
    async def run() -> None:
        paths = open_state(tmp_path / "state")
        blobs = await DiskBlobs.open(paths.blobs)
        for data in (b"needed", b"forgotten"):
            await blobs.put(data)
            await blobs.put(tree_of(data))
        for path in paths.blobs.rglob("*"):
            if path.is_file():
                os.utime(path, (1, 1))
        await work(blobs, paths)
        await blobs.close()

    asyncio.run(run())


def every(data: bytes) -> set[str]:
    return {digest_of(data), digest_of(tree_of(data))}


def test_what_containers_here_need_stays_with_all_that_it_names_and_the_rest_goes(tmp_path: Path) -> None:
    async def work(blobs: DiskBlobs, paths: StatePaths) -> None:
        needed = Needed(names=frozenset({digest_of(tree_of(b"needed")), "skeleton-1"}))
        told = await NodeCollecting(blobs, paths, 60.0, lambda: needed).collect()
        assert told is not None
        assert told.blobs == 2
        assert {info.digest async for info in blobs.blobs()} == every(b"needed")

    play(tmp_path, work)


def test_nothing_goes_while_nobody_knows_what_is_needed(tmp_path: Path) -> None:
    async def work(blobs: DiskBlobs, paths: StatePaths) -> None:
        assert await NodeCollecting(blobs, paths, 60.0, lambda: None).collect() is None
        said = iter([NOTHING, None])
        with pytest.raises(ConflictError):
            await NodeCollecting(blobs, paths, 60.0, lambda: next(said)).collect()
        assert {info.digest async for info in blobs.blobs()} == every(b"needed") | every(b"forgotten")

    play(tmp_path, work)


def test_what_was_stored_lately_and_what_is_being_fetched_stays(tmp_path: Path) -> None:
    async def work(blobs: DiskBlobs, paths: StatePaths) -> None:
        young = await blobs.put(b"young")
        async with Leases(paths.leases).held():
            under_way = await blobs.put(b"under way")
            await NodeCollecting(blobs, paths, 60.0, lambda: NOTHING).collect()
        assert {info.digest async for info in blobs.blobs()} == {young, under_way}

    play(tmp_path, work)
