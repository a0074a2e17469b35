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
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.tree import Directory, Entry, File, Link, Tree, encode_tree, tree_of
from squall.blobs.tree_renderer import TreeRenderer
from squall.blobs.tree_writer import TreeWriter
from squall.model.errors import BlobCorrupt, BlobMissing, StateDirectoryError

FILES = {
    "main.py": b"print('hello')\n",
    "package/__init__.py": b"",
    "package/deep/er/data.bin": bytes(range(256)) * 40,
    "package.py": b"beside",
    "\udcff odd\nname": b"odd",
    "large.bin": b"l" * (9 * PART_BYTES),
}
LINKS = {"link": "main.py", "package/out": "/etc/passwd", "loop": "loop"}


async def stored(blobs: BlobStore, *, executable: str = "main.py") -> Tree:
    entries: list[Entry] = [Directory(path="empty/inside")]
    for path, data in FILES.items():
        digest = await blobs.put(data)
        entries.append(File(path=path, size=len(data), digest=digest, executable=path == executable))
    entries += [Link(path=path, target=target) for path, target in LINKS.items()]
    tree = tree_of(entries)
    await blobs.put(encode_tree(tree))
    return tree


Work = Callable[[Checkouts, BlobStore, Tree], Awaitable[None]]


def with_checkouts(root: Path, work: Work) -> None:
    async def run() -> None:
        blobs = MemoryBlobs()
        tree = await stored(blobs)
        checkouts = await Checkouts.open(root, TreeRenderer(blobs))
        try:
            await work(checkouts, blobs, tree)
        finally:
            await checkouts.close()

    asyncio.run(run())


def staged(root: Path) -> list[str]:
    return os.listdir(root / "staging")


def test_the_directory_is_what_the_tree_says(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        path = await checkouts.checkout(tree.digest)
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

    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        path = await checkouts.checkout(tree.digest)
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
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        path = await checkouts.checkout(tree.digest)
        inode = path.stat().st_ino
        await blobs.delete(list(tree.digests))
        assert await checkouts.checkout(tree.digest) == path
        assert path.stat().st_ino == inode

    with_checkouts(tmp_path, work)


def test_many_at_once_get_one_directory(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        other = await Checkouts.open(tmp_path, TreeRenderer(blobs))  # as another process would
        paths = await asyncio.gather(
            *(one.checkout(tree.digest) for one in (checkouts, other) for _ in range(8))
        )
        await other.close()
        assert len(set(paths)) == 1
        assert (paths[0] / "large.bin").stat().st_size == len(FILES["large.bin"])
        assert staged(tmp_path) == []

    with_checkouts(tmp_path, work)


def test_a_missing_or_damaged_blob_leaves_no_directory(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        assert isinstance(blobs, MemoryBlobs)
        digest = digest_of(FILES["package.py"])
        blobs.damage(digest, b"other!")
        with pytest.raises(BlobCorrupt):
            await checkouts.checkout(tree.digest)
        with pytest.raises(BlobMissing):
            await checkouts.checkout(tree.digest)
        with pytest.raises(BlobMissing):
            await checkouts.checkout(digest_of(b"no tree"))
        assert await checkouts.copies() == ()
        assert staged(tmp_path) == []
        await blobs.put(FILES["package.py"])
        assert (await checkouts.checkout(tree.digest)).is_dir()

    with_checkouts(tmp_path, work)


def test_a_size_that_is_not_the_blobs_is_refused(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        for data in (b"small", FILES["large.bin"]):
            digest = await blobs.put(data)
            lying = tree_of([File(path="f", size=len(data) + 1, digest=digest)])
            await blobs.put(encode_tree(lying))
            with pytest.raises(BlobCorrupt, match="is said to have"):
                await checkouts.checkout(lying.digest)
        assert staged(tmp_path) == []

    with_checkouts(tmp_path, work)


def test_what_is_copied_is_listed_and_removed(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        path = await checkouts.checkout(tree.digest)
        (copy,) = await checkouts.copies()
        assert (copy.key, copy.size >= tree.size) == (tree.digest, True)
        assert await checkouts.remove(tree.digest)
        assert not await checkouts.remove(tree.digest)
        assert not path.exists()
        assert await checkouts.copies() == ()
        assert await checkouts.checkout(tree.digest) == path

    with_checkouts(tmp_path, work)


def test_those_from_before_the_machines_start_go(tmp_path: Path) -> None:
    old = tmp_path / "another-boot" / ("a" * 64)
    old.mkdir(parents=True)

    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        assert not old.parent.exists()

    with_checkouts(tmp_path, work)


def test_a_cancelled_checkout_leaves_nothing_and_can_be_had_again(tmp_path: Path) -> None:
    async def work(checkouts: Checkouts, blobs: BlobStore, tree: Tree) -> None:
        for turns in range(12):
            task = asyncio.ensure_future(checkouts.checkout(tree.digest))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert staged(tmp_path) == []
        assert (await checkouts.checkout(tree.digest)).is_dir()

    with_checkouts(tmp_path, work)


def test_a_link_planted_in_the_way_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    renderer = TreeWriter(tmp_path / "staged")
    renderer.open()
    (tmp_path / "staged" / "sub").symlink_to(outside)
    (tmp_path / "staged" / "file").symlink_to(outside / "file")
    digest = digest_of(b"x")
    try:
        for path in ("sub/file", "file"):
            with pytest.raises(OSError, match=r".*"):
                renderer.add([File(path=path, size=1, digest=digest)], {path: b"x"})
    finally:
        renderer.close()
    assert list(outside.iterdir()) == []


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def run() -> None:
        with pytest.raises(StateDirectoryError):
            await Checkouts.open(tmp_path / "file" / "trees", TreeRenderer(MemoryBlobs()))

    asyncio.run(run())


RENDER = """
import asyncio, pathlib, sys
from squall.blobs.checkout import Checkouts
from squall.blobs.tree_renderer import TreeRenderer
from squall.blobs.disk_blobs import DiskBlobs
async def run():
    root = pathlib.Path(sys.argv[1])
    checkouts = await Checkouts.open(root / "trees", TreeRenderer(await DiskBlobs.open(root / "blobs")))
    print(await checkouts.checkout(sys.argv[2]))
asyncio.run(run())
"""


def test_who_dies_while_rendering_leaves_no_named_directory(tmp_path: Path) -> None:
    async def prepare() -> Digest:
        blobs = await DiskBlobs.open(tmp_path / "blobs")
        tree = await stored(blobs)
        await blobs.close()
        return tree.digest

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
