"""A commit killed at each of its steps leaves the old version or the new one, whole; sent again, it is one commit."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from squall import faults
from squall.blobs.certain import certain
from squall.blobs.collect import collect
from squall.blobs.digest import Digest
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import File
from squall.server.volumes import Volumes
from squall.state.sqlite_state import SqliteState

SOURCE = Path(__file__).parents[3] / "src"
FILES = 20
# A commit of a layer that its sender has put, as a program of its own.
COMMIT = """
import asyncio, sys
from pathlib import Path
from squall.blobs.digest import digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import ROOT, Attributes, Directory, File, Manifest, Part
from squall.blobs.manifest_bytes import encode
from squall.server.volumes import Commit, Volumes
from squall.state.sqlite_state import SqliteState

root, text, base = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

async def run():
    blobs = await DiskBlobs.open(root / "blobs")
    state = await SqliteState.open(root / "squall.db")
    volumes = Volumes(state, blobs)
    of = (await volumes.find("main", "data", create=True)).id
    entries = [Directory(path=ROOT, attributes=Attributes(mode=0o755))]
    for number in range(int(sys.argv[4])):
        data = f"{text} {number}".encode()
        part = Part(chunk=await blobs.put(data, forced=False), offset=0, length=len(data))
        file = File(path=f"f{number:02}", attributes=Attributes(mode=0o644), size=len(data), parts=(part,))
        entries.append(file)
    if text == "old":
        # Which the later commit does not touch.
        entries.append(File(path="kept", attributes=Attributes(mode=0o644)))
    layer = await blobs.put(encode(Manifest(tuple(entries))), forced=False)
    await volumes.commit(Commit(volume=of, id="cm-" + text, base=base, changes=layer))
    await state.close()
    await blobs.close()

asyncio.run(run())
"""


def commit(root: Path, text: str, base: int, fault: str = "") -> int:
    """The exit status of a process that commits FILES files, each with `text` in it."""
    environ = {**os.environ, "PYTHONPATH": str(SOURCE), faults.VARIABLE: fault}
    done = subprocess.run(
        [sys.executable, "-c", COMMIT, str(root), text, str(base), str(FILES)],
        env=environ,
        timeout=60,
        check=False,
    )
    return done.returncode


async def look(root: Path) -> tuple[int, set[str]]:
    """The newest version, all of which is here also when a collection has taken what nobody refers to; and what is in its files."""
    blobs, state = await DiskBlobs.open(root / "blobs"), await SqliteState.open(root / "squall.db")
    volumes = Volumes(state, blobs)
    head = await volumes.head((await volumes.find("main", "data", create=False)).id)

    async def roots() -> set[Digest]:
        return {Digest(one) for one in await state.volume_manifests()}

    await collect(blobs, roots, before_s=2e10)
    await certain(blobs, await roots())
    found: set[str] = set()
    tree = await volumes.trees.get(Digest(head.manifest))
    for entry in tree.entries:
        if isinstance(entry, File) and entry.path != "kept":
            data = await blobs.get(entry.parts[0].chunk)
            text, _, number = data.decode().partition(" ")
            assert entry.path == f"f{int(number):02}"
            found.add(text)
    assert len(tree.entries) == FILES + 2
    await state.close()
    await blobs.close()
    return head.number, found


@pytest.mark.parametrize(
    "place",
    [
        *(f"blobs.{step}:{count}" for step in ("written", "named") for count in (1, FILES // 2, FILES + 1)),
        *("volumes.merged", "volumes.forced", "blobs.forced", "volumes.kept", "state.applied:2"),
        *("state.committed:2", "volumes.recorded"),
    ],
)
def test_a_commit_that_dies_leaves_the_old_version_or_the_new_one(place: str, tmp_path: Path) -> None:
    assert commit(tmp_path, "old", 0) == 0
    assert asyncio.run(look(tmp_path)) == (1, {"old"})
    died = commit(tmp_path, "new", 1, place)
    assert died == faults.EXIT_CODE, "the place was not passed"
    number, found = asyncio.run(look(tmp_path))
    assert (number, found) in [(1, {"old"}), (2, {"new"})]
    after = place.partition(":")[0] in {"state.committed", "volumes.recorded"}
    assert (number == 2) == after
    assert commit(tmp_path, "new", 1) == 0
    assert asyncio.run(look(tmp_path)) == (2, {"new"})
