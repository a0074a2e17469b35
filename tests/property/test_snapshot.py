from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.snapshot import snapshot
from tests.unit.blobs.scenery import Prop, build, keeps_xattrs, scenes

pytestmark = pytest.mark.needs("linux")


@given(scenes)
@settings(deadline=None, max_examples=100)
def test_what_is_rendered_has_the_snapshot_that_it_was_rendered_from(scene: list[Prop]) -> None:
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(round_trip(Path(place), scene))


async def round_trip(place: Path, scene: list[Prop]) -> None:
    build(place / "root", scene, xattrs=keeps_xattrs(place))
    blobs = MemoryBlobs()
    first = await snapshot(place / "root", blobs)
    assert not first.changed
    await DirectoryRenderer(blobs).render(first.manifest, place / "again")
    # Of the first directory nothing may be needed.
    shutil.rmtree(place / "root")
    assert await snapshot(place / "again", blobs) == first
