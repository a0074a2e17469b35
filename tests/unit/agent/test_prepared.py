"""Prepared: what a node keeps ready for its functions, and what it does about a source that is not whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from squall.agent.levels import Levels
from squall.agent.prepared import Images
from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest, digest_of
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest_bytes import manifest_digest
from squall.blobs.overlay_notes import Notes
from squall.images.apply import Sandboxes
from squall.images.rooted.images import Stores
from squall.model.errors import BlobMissing
from squall.sdk.this_python import this_python
from squall.settings.paths import StatePaths, open_state
from tests.local_trees import keep_tree, local_tree


def play(state: Path, work: Callable[[Images, DiskBlobs, StatePaths], Awaitable[None]]) -> None:
    async def run() -> None:
        paths = open_state(state)
        blobs = await DiskBlobs.open(paths.blobs)
        stores = Stores(
            blobs=blobs,
            trees=await Checkouts.open(paths.trees, DirectoryRenderer(blobs)),
            rendered=await Checkouts.open(paths.rendered, DirectoryRenderer(blobs, notes=Notes.USER)),
        )
        # Nothing is built, and no container is planned.
        images = Images(paths, stores, cast(Sandboxes, None), cast(Levels, None))
        await work(images, blobs, paths)
        await blobs.close()

    asyncio.run(run())


async def source(blobs: DiskBlobs, data: bytes) -> Digest:
    tree = local_tree({"app/m.py": data})
    await keep_tree(blobs, tree, {"app/m.py": data})
    return manifest_digest(tree)


def wants(tree: Digest, *functions: str) -> dict[str, Any]:
    return {
        "image": {},
        "client_python": this_python().to_json(),
        "source": tree,
        "functions": [{"id": name} for name in functions],
    }


def test_what_no_function_needs_is_forgotten_and_made_ready_again(tmp_path: Path) -> None:
    async def work(images: Images, blobs: DiskBlobs, paths: StatePaths) -> None:
        one, two = await source(blobs, b"1"), await source(blobs, b"2")
        first = await images.prepare(wants(one, "ap-1/f", "ap-1/g"), lambda _line: None)
        await images.prepare(wants(two, "ap-2/f"), lambda _line: None)
        assert {one, two} <= images.keep_only({"ap-1/g", "ap-2/f"})
        needed = images.keep_only({"ap-1/g"})
        assert one in needed
        assert two not in needed
        assert await images.prepare(wants(one, "ap-3/f"), lambda _line: None) is first
        assert images.keep_only(()) == frozenset()
        assert await images.prepare(wants(one, "ap-1/f"), lambda _line: None) is not first
        assert os.listdir(paths.leases) == []

    play(tmp_path / "state", work)


def test_a_source_of_which_a_file_is_gone_is_asked_for_again(tmp_path: Path) -> None:
    async def work(images: Images, blobs: DiskBlobs, _paths: StatePaths) -> None:
        tree = await source(blobs, b"1")
        await blobs.delete([digest_of(b"1")])
        with pytest.raises(BlobMissing):
            await images.prepare(wants(tree, "ap-1/f"), lambda _line: None)
        # Its client asks for the tree first, and would send nothing if that were here.
        assert not await blobs.has_many([tree])
        assert await source(blobs, b"1") == tree
        await images.prepare(wants(tree, "ap-1/f"), lambda _line: None)

    play(tmp_path / "state", work)
