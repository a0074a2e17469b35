from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import squall
from squall import faults
from squall.blobs.blob_store import PART_BYTES, BlobStore
from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest, digest_of
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.directory_writer import DirectoryWriter
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import Attributes, Directory, File, Manifest, Part
from squall.blobs.manifest_bytes import encode, manifest_digest
from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.errors import BlobCorrupt, BlobMissing, StateDirectoryError
from tests.local_trees import keep_tree, local_tree

FILES = {
    "main.py": b"print('hello')\n",
    "package/__init__.py": b"",
    "package/deep/er/data.bin": bytes(range(256)) * 40,
    "package.py": b"beside",
    "\udcff odd\nname": b"odd",
    "large.bin": b"l" * (9 * PART_BYTES),
}
LINKS = {"link": "main.py", "package/out": "/etc/passwd", "loop": "loop"}


async def stored(blobs: BlobStore) -> Digest:
    tree = local_tree(FILES, LINKS, ["empty/inside"], ["main.py"])
    await keep_tree(blobs, tree, FILES)
    return manifest_digest(tree)


Work = Callable[[Checkouts, BlobStore, Digest], Awaitable[None]]


def with_checkouts(root: Path, work: Work) -> None:
    async def run() -> None:
        blobs = MemoryBlobs()
        tree = await stored(blobs)
        checkouts = await Checkouts.open(root, DirectoryRenderer(blobs))
        try:
            await work(checkouts, blobs, tree)
        finally:
            await checkouts.close()

    asyncio.run(run())


def staged(root: Path) -> list[str]:
    return os.listdir(root / "staging")


def test_the_directory_is_what_the_tree_says(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        path = await checkouts.checkout(tree)
        found = {
            str(entry.relative_to(path)) for entry in path.rglob("*") if entry.is_symlink() or entry.is_file()
        }
        assert found == set(FILES) | set(LINKS)
        for name, data in FILES.items():
            assert (path / name).read_bytes() == data
        for name, target in LINKS.items():
            assert os.readlink(path / name) == target
        assert list((path / "empty" / "inside").iterdir()) == []
        assert staged(tmp_path) == []

    with_checkouts(tmp_path, work)


def test_any_container_may_copy_it_up(tmp_path: Path) -> None:
    before = os.umask(0o077)

    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        path = await checkouts.checkout(tree)
        for directory, _, files in os.walk(path):
            assert stat.S_IMODE(os.lstat(directory).st_mode) == 0o777
            for name in files:
                found = os.lstat(os.path.join(directory, name))
                if stat.S_ISREG(found.st_mode):
                    assert stat.S_IMODE(found.st_mode) == (0o777 if name == "main.py" else 0o666)
        assert stat.S_IMODE(tmp_path.joinpath("staging").stat().st_mode) == 0o700

    try:
        with_checkouts(tmp_path, work)
    finally:
        os.umask(before)


def test_a_second_checkout_is_the_first(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        path = await checkouts.checkout(tree)
        inode = path.stat().st_ino
        await blobs.delete([digest_of(FILES["main.py"])])
        assert await checkouts.checkout(tree) == path
        assert path.stat().st_ino == inode

    with_checkouts(tmp_path, work)


def test_many_at_once_get_one_directory(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        other = await Checkouts.open(tmp_path, DirectoryRenderer(blobs))  # as another process would
        paths = await asyncio.gather(*(one.checkout(tree) for one in (checkouts, other) for _ in range(8)))
        await other.close()
        assert len(set(paths)) == 1
        assert (paths[0] / "large.bin").stat().st_size == len(FILES["large.bin"])
        assert staged(tmp_path) == []

    with_checkouts(tmp_path, work)


def test_a_missing_or_damaged_blob_leaves_no_directory(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        assert isinstance(blobs, MemoryBlobs)
        digest = digest_of(FILES["package.py"])
        blobs.damage(digest, b"other!")
        with pytest.raises(BlobCorrupt):
            await checkouts.checkout(tree)
        with pytest.raises(BlobMissing):
            await checkouts.checkout(tree)
        with pytest.raises(BlobMissing):
            await checkouts.checkout(digest_of(b"no tree"))
        assert await checkouts.copies() == ()
        assert staged(tmp_path) == []
        await blobs.put(FILES["package.py"])
        assert (await checkouts.checkout(tree)).is_dir()

    with_checkouts(tmp_path, work)


def test_a_size_that_is_not_the_blobs_is_refused(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        small = Part(chunk=await blobs.put(b"small"), offset=0, length=6)
        file = File(path="f", attributes=Attributes(mode=0o644), size=6, parts=(small,))
        lying = Manifest((Directory(path="", attributes=Attributes(mode=0o755)), file))
        with pytest.raises(BlobCorrupt, match="bytes up to 6 of a chunk of 5"):
            await checkouts.checkout(await blobs.put(encode(lying)))
        assert staged(tmp_path) == []

    with_checkouts(tmp_path, work)


def test_what_is_copied_is_listed_and_removed(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        path = await checkouts.checkout(tree)
        (copy,) = await checkouts.copies()
        assert (copy.key, copy.size >= sum(map(len, FILES.values()))) == (tree, True)
        assert await checkouts.remove(tree)
        assert not await checkouts.remove(tree)
        assert not path.exists()
        assert await checkouts.copies() == ()
        assert await checkouts.checkout(tree) == path

    with_checkouts(tmp_path, work)


def test_those_from_before_the_machines_start_go(tmp_path: Path) -> None:
    old = tmp_path / "another-boot" / ("a" * 64)
    old.mkdir(parents=True)

    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        assert not old.parent.exists()

    with_checkouts(tmp_path, work)


def test_a_cancelled_checkout_leaves_nothing_and_can_be_had_again(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Digest) -> None:
        for turns in range(12):
            task = asyncio.ensure_future(checkouts.checkout(tree))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert staged(tmp_path) == []
        assert (await checkouts.checkout(tree)).is_dir()

    with_checkouts(tmp_path, work)


def test_a_link_planted_in_the_way_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    writer = DirectoryWriter(tmp_path / "staged", notes=None, owners=False)
    writer.open()
    writer.add(Directory(path="", attributes=Attributes(mode=0o755)))
    (tmp_path / "staged" / "sub").symlink_to(outside)
    (tmp_path / "staged" / "file").symlink_to(outside / "file")
    try:
        with pytest.raises(OSError, match=r".*"):
            writer.add(File(path="file", attributes=Attributes(mode=0o644)))
        with pytest.raises(OSError, match=r".*"):
            writer.add(Directory(path="sub", attributes=Attributes(mode=0o755)))
    finally:
        writer.close()
    assert list(outside.iterdir()) == []


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def run() -> None:
        with pytest.raises(StateDirectoryError):
            await Checkouts.open(tmp_path / "file" / "trees", DirectoryRenderer(MemoryBlobs()))

    asyncio.run(run())


RENDER = """
import asyncio, pathlib, sys
from squall.blobs.checkout import Checkouts
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
async def run():
    root = pathlib.Path(sys.argv[1])
    checkouts = await Checkouts.open(root / "trees", DirectoryRenderer(await DiskBlobs.open(root / "blobs")))
    print(await checkouts.checkout(sys.argv[2]))
asyncio.run(run())
"""


def test_who_dies_while_rendering_leaves_no_named_directory(tmp_path: Path) -> None:
    async def prepare() -> Digest:
        blobs = await DiskBlobs.open(tmp_path / "blobs")
        tree = await stored(blobs)
        await blobs.close()
        return tree

    digest = asyncio.run(prepare())
    source = Path(squall.__file__).parent.parent
    env = {**os.environ, faults.VARIABLE: "checkout.rendered", "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", RENDER, str(tmp_path), digest]
    died = subprocess.run(command, env=env, check=False, timeout=60)
    assert died.returncode == faults.EXIT_CODE
    (boot,) = set(os.listdir(tmp_path / "trees")) - {"staging"}
    assert os.listdir(tmp_path / "trees" / boot) == []
    env[faults.VARIABLE] = ""
    done = subprocess.run(command, env=env, check=True, timeout=60, capture_output=True, text=True)
    assert Path(done.stdout.strip()).name == digest
