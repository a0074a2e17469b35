"""Evicting: what nothing needs goes, the longest unused first; what is in use, or was asked for, stays."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from squall.agent.evicting import Evicting, Needed
from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.manifest_bytes import manifest_digest
from squall.blobs.memory_blobs import MemoryBlobs
from tests.local_trees import keep_tree, local_tree

SIZE = 1000
LONG_AGO_S = time.time() - 100_000


async def checked_out(blobs: MemoryBlobs, checkouts: Checkouts, count: int) -> list[Digest]:
    """Trees of SIZE bytes each, checked out, the first one used last the longest time ago."""
    trees: list[Digest] = []
    for number in range(count):
        data = bytes([number]) * SIZE
        tree = local_tree({"f": data})
        await keep_tree(blobs, tree, {"f": data})
        trees.append(manifest_digest(tree))
        directory = await checkouts.checkout(trees[-1])
        os.utime(directory, (LONG_AGO_S + number, LONG_AGO_S + number))
    return trees


async def here(checkouts: Checkouts) -> set[str]:
    return {copy.key for copy in await checkouts.copies()}


def test_the_longest_unused_go_and_what_is_needed_stays(tmp_path: Path) -> None:
    async def run() -> None:
        blobs = MemoryBlobs()
        checkouts = await Checkouts.open(tmp_path, DirectoryRenderer(blobs))
        trees = await checked_out(blobs, checkouts, 6)
        needed: list[Needed | None] = [None]
        evicting = Evicting({"trees": checkouts}, 3 * SIZE, lambda: needed[0])
        assert await evicting.once() == 0
        assert len(await here(checkouts)) == 6
        needed[0] = Needed(names=frozenset({trees[0]}))
        await checkouts.checkout(trees[1])
        assert await evicting.once() == 3
        assert await here(checkouts) == {trees[0], trees[1], trees[5]}
        assert await evicting.once() == 0
        # A build that has begun before was given all that was asked for since.
        await checked_out(blobs, checkouts, 6)
        needed[0] = Needed(names=frozenset(), since_s=LONG_AGO_S + 1)
        assert await evicting.once() == 1
        assert await here(checkouts) == set(trees[1:])
        # What went is made again for whoever asks.
        assert (await checkouts.checkout(trees[0]) / "f").read_bytes() == bytes([0]) * SIZE
        await checkouts.close()

    asyncio.run(run())


def test_whoever_asks_for_a_directory_while_it_goes_gets_a_whole_one(tmp_path: Path) -> None:
    async def run() -> None:
        blobs = MemoryBlobs()
        checkouts = await Checkouts.open(tmp_path, DirectoryRenderer(blobs))
        (tree,) = await checked_out(blobs, checkouts, 1)
        for _ in range(50):
            os.utime(await checkouts.checkout(tree), (LONG_AGO_S, LONG_AGO_S))
            asked, removed, again = await asyncio.gather(
                checkouts.checkout(tree),
                checkouts.remove(tree, before_s=LONG_AGO_S + 1),
                checkouts.checkout(tree),
            )
            assert not removed
            assert asked == again
            assert (asked / "f").read_bytes() == bytes([0]) * SIZE
            os.utime(asked, (LONG_AGO_S, LONG_AGO_S))
            removed, asked, _ = await asyncio.gather(
                checkouts.remove(tree, before_s=LONG_AGO_S + 1),
                checkouts.checkout(tree),
                checkouts.remove(tree, before_s=LONG_AGO_S + 1),
            )
            assert removed
            assert (asked / "f").read_bytes() == bytes([0]) * SIZE
        await checkouts.close()

    asyncio.run(run())
