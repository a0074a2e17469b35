from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.snapshot import snapshot
from squall.images.oci.layer_in import layer_in
from squall.images.oci.layer_out import LayerOut
from tests.unit.blobs.scenery import Prop, build, keeps_xattrs, scenes
from tests.unit.images.oci.archives import in_parts

pytestmark = pytest.mark.needs("linux", "root")


@given(scene=scenes)
@settings(deadline=None, max_examples=60)
def test_the_program_tar_unpacks_what_the_snapshot_was_taken_of(scene: list[Prop]) -> None:
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        asyncio.run(unpacked_by_tar(place, scene))


async def unpacked_by_tar(place: Path, scene: list[Prop]) -> None:
    xattrs = keeps_xattrs(place)
    for prop in scene:
        # Such names are for other tests: tar has no word for them, or means something else.
        if b"=" in prop.names[-1] or any(name.startswith(b".wh.") for name in prop.names):
            return
    build(place / "root", scene, xattrs=xattrs)
    os.chown(place / "root", 1234, 4321)
    blobs = MemoryBlobs()
    first = await snapshot(place / "root", blobs)
    data = b"".join([part async for part in LayerOut(first.manifest, blobs).parts()])
    (place / "layer.tar.gz").write_bytes(data)
    (place / "again").mkdir()
    unpacked = await asyncio.to_thread(
        subprocess.run,
        [
            "tar",
            "-xpzf",
            "layer.tar.gz",
            "-C",
            "again",
            "--numeric-owner",
            "--delay-directory-restore",
            "--warning=no-timestamp",
        ]
        + (["--xattrs", "--xattrs-include=*"] if xattrs else []),
        cwd=place,
        capture_output=True,
        check=False,
    )
    assert unpacked.returncode == 0, unpacked.stderr
    assert await snapshot(place / "again", blobs) == first
    # And back, by our own reader.
    layer = await layer_in(in_parts(data), blobs)
    assert (layer.manifest, layer.noted) == (first.manifest, 0)
