"""Collections in one process beside builds in another, and collections that die: nothing that has a name is lost."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import squall
from squall import faults
from squall.blobs.certain import certain
from squall.blobs.digest import Digest, digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.kept_chunks import keep_chunks
from squall.blobs.leases import Leases
from squall.blobs.manifest import ROOT, Attributes, Directory, File, Manifest, Part
from squall.blobs.manifest_bytes import decode, encode
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.model.errors import BlobMissing
from squall.server.collecting import read_notes
from squall.settings.paths import StatePaths, open_state

SOURCE = Path(squall.__file__).parent.parent
PLAIN = Attributes(mode=0o755)
ROUNDS = int(os.environ.get("COLLECT_ROUNDS", "400"))

COLLECT = """
import asyncio, pathlib, select, sys
from squall.blobs.disk_blobs import DiskBlobs
from squall.server.collecting import Collecting
from squall.settings.options import Options
from squall.settings.paths import open_state
from squall.state.memory_state import MemoryState
async def run():
    paths = open_state(sys.argv[1])
    blobs = await DiskBlobs.open(paths.blobs)
    collecting = Collecting(blobs, MemoryState(), paths, Options(), lambda: [])
    gone = passes = 0
    while True:
        gone += (await collecting.collect(grace_s=0.0)).blobs
        passes += 1
        if sys.argv[2] == "once" or select.select([sys.stdin], [], [], 0)[0]:
            break
    print(gone, passes)
asyncio.run(run())
"""


def collecting(state: Path, how: str, fault: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COLLECT, str(state), how],
        env={**os.environ, "PYTHONPATH": str(SOURCE), faults.VARIABLE: fault},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def chunk(number: int) -> bytes:
    return number.to_bytes(4, "big") * 50


def manifest_of(numbers: list[int]) -> Manifest:
    data = [chunk(number) for number in numbers]
    files = (
        File(
            path=f"f{at:03}",
            attributes=PLAIN,
            size=len(one),
            parts=(Part(chunk=digest_of(one), offset=0, length=len(one)),),
        )
        for at, one in enumerate(data)
    )
    return Manifest((Directory(path=ROOT, attributes=PLAIN), *files))


async def build(
    paths: StatePaths, blobs: DiskBlobs, below: tuple[str, ...], numbers: list[int], *, long: bool = False
) -> Built:
    """As an image is built: chunks, manifest, a look whether all is here, the record. long: collections end meanwhile."""
    for number in numbers:
        await keep_chunks(blobs, {digest_of(chunk(number)): chunk(number)}, forced=False)
    ended: set[float] = set()
    while long and len(ended) < 4:
        ended.add(read_notes(paths.store_notes).collected_s)
        await asyncio.sleep(0.01)
    layer = await blobs.put(encode(manifest_of(numbers)), forced=False)
    built = Built(key=os.urandom(32).hex(), trees=(*below, layer))
    await certain(blobs, map(Digest, built.trees))
    Kept(paths.images).keep(built)
    return built


async def all_whole(paths: StatePaths, blobs: DiskBlobs) -> int:
    """Every byte of every image is here; how many images that are."""
    images = Kept(paths.images).all()
    for tree in {tree for built, _ in images for tree in built.trees}:
        await blobs.get_many(decode(await blobs.get(Digest(tree))).chunks)
    return len(images)


def test_collections_beside_builds_lose_nothing_that_has_a_record(tmp_path: Path) -> None:
    """The grace is nothing: what keeps a build's blobs is its lease, and then its record."""
    dice = random.Random(5)
    beside = collecting(tmp_path / "state", "until told")

    async def run() -> int:
        paths = open_state(tmp_path / "state")
        blobs, leases, kept = await DiskBlobs.open(paths.blobs), Leases(paths.leases), Kept(paths.images)
        images, forgotten = list[Built](), list[Built]()
        refused = 0
        for number in range(ROUNDS):
            async with leases.held():
                old = dice.choice([*images, *forgotten[-1:]]) if images and dice.random() < 0.5 else None
                below = old.trees[-2:] if old else ()
                # From few chunks, so that old ones are used again in the moment in which they would go.
                numbers = [dice.randrange(60) for _ in range(dice.randrange(1, 6))]
                long = number % 50 == 49
                try:
                    images.append(await build(paths, blobs, below, [*numbers, 1000 + number], long=long))
                except BlobMissing:
                    # What it stood on was forgotten, and has gone: it is told so before it has a name.
                    assert below
                    refused += 1
            while len(images) > 6:
                forgotten.append(images.pop(dice.randrange(3)))
                kept.drop(forgotten[-1].key)
            if number % 10 == 0:
                assert await all_whole(paths, blobs) > 0
        assert await all_whole(paths, blobs) > 0
        await blobs.close()
        return refused

    try:
        refused = asyncio.run(run())
    finally:
        told, _ = beside.communicate("end\n", timeout=120)
    gone, passes = map(int, told.split())
    assert beside.returncode == 0
    assert gone > ROUNDS // 4
    assert passes >= 5
    assert refused < ROUNDS // 2


@pytest.mark.parametrize("place", ["collect.marked", "collect.taken", "blobs.leaving", "blobs.leaving:3"])
def test_a_collection_that_dies_leaves_a_store_that_works(place: str, tmp_path: Path) -> None:
    paths = open_state(tmp_path / "state")

    async def make() -> set[Digest]:
        blobs = await DiskBlobs.open(paths.blobs)
        await build(paths, blobs, (), [1, 2, 3])
        wanted = {info.digest async for info in blobs.blobs()}
        for _ in range(2):
            built = await build(paths, blobs, (), [2, *range(10, 15)])
            Kept(paths.images).drop(built.key)
        await blobs.close()
        return wanted

    async def after(*, collected: bool) -> None:
        blobs = await DiskBlobs.open(paths.blobs)
        assert await all_whole(paths, blobs) == 1
        here = {info.digest async for info in blobs.blobs()}
        assert here >= wanted
        assert (here == wanted) == collected
        # A manifest that is here has all of its chunks, so that whoever finds it need not look.
        manifest = encode(manifest_of([2, *range(10, 15)]))
        if digest_of(manifest) in here:
            await certain(blobs, [digest_of(manifest)])
        await blobs.close()

    wanted = asyncio.run(make())
    died = collecting(paths.state, "once", place)
    died.communicate(timeout=60)
    assert died.returncode == faults.EXIT_CODE
    asyncio.run(after(collected=False))
    again = collecting(paths.state, "once")
    again.communicate(timeout=60)
    assert again.returncode == 0
    asyncio.run(after(collected=True))
