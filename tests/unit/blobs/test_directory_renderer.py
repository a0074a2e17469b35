from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.directory_writer import DirectoryWriter
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import (
    Attributes,
    Directory,
    Entry,
    Fifo,
    File,
    Hardlink,
    Manifest,
    Part,
    Symlink,
    Whiteout,
)
from squall.blobs.manifest_bytes import encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.renderer import Renderer
from squall.blobs.snapshot import snapshot
from squall.model.errors import BlobCorrupt, BlobMissing, StateDirectoryError, TreeInvalid

pytestmark = pytest.mark.needs("linux")


def mine(mode: int, mtime_ns: int = 0) -> Attributes:
    return Attributes(mode=mode, uid=os.geteuid(), gid=os.getegid(), mtime_ns=mtime_ns)


PLAIN = mine(0o644)
LINK = mine(0o777)
ROOT = Directory(path="", attributes=mine(0o755))


def directory(path: str, mode: int = 0o755) -> Directory:
    return Directory(path=path, attributes=mine(mode))


def file(path: str, mode: int = 0o644) -> File:
    return File(path=path, attributes=mine(mode))


async def rendered(blobs: MemoryBlobs, into: Path, *entries: Entry) -> None:
    manifest = await blobs.put(encode(Manifest((ROOT, *entries))))
    renderer: Renderer = DirectoryRenderer(blobs)
    await renderer.render(manifest, into)


def test_the_directory_is_what_the_manifest_says(tmp_path: Path) -> None:
    into = tmp_path / "into"

    async def run() -> None:
        blobs = MemoryBlobs()
        chunk = await blobs.put(b"0123456789")
        parts = (Part(chunk=chunk, offset=5, length=5), Part(chunk=chunk, offset=0, length=2))
        kept = mine(0o751, 1_234_567_891)
        await rendered(
            blobs,
            into,
            Directory(path="d", attributes=mine(0o1555, 5_000)),
            File(path="d/f", attributes=kept, size=7, parts=parts),
            Symlink(path="d/l", attributes=LINK, target="/nowhere"),
            Fifo(path="d/p", attributes=mine(0o622)),
            file("e"),
            Hardlink(path="g", first="d/f"),
            Hardlink(path="h", first="d/l"),
        )

    before = os.umask(0o077)
    try:
        asyncio.run(run())
    finally:
        os.umask(before)
    assert (into / "d" / "f").read_bytes() == b"5678901"
    found = (into / "d" / "f").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_nlink) == (0o751, 1_234_567_891, 2)
    assert (into / "g").samefile(into / "d" / "f")
    assert os.readlink(into / "h") == "/nowhere"
    assert stat.S_IMODE((into / "d" / "p").stat().st_mode) == 0o622
    assert stat.S_ISFIFO((into / "d" / "p").stat().st_mode)
    above = (into / "d").stat()
    assert (stat.S_IMODE(above.st_mode), above.st_mtime_ns) == (0o1555, 5_000)
    assert (into / "e").read_bytes() == b""


def test_zeros_take_no_room(tmp_path: Path) -> None:
    root, into = tmp_path / "root", tmp_path / "into"
    root.mkdir()
    with (root / "sparse").open("wb") as made:
        made.truncate(40 * CHUNK_BYTES + 5)
        made.seek(10 * CHUNK_BYTES)
        made.write(b"x")

    async def run() -> None:
        blobs = MemoryBlobs()
        await DirectoryRenderer(blobs).render((await snapshot(root, blobs)).manifest, into)

    asyncio.run(run())
    assert (into / "sparse").read_bytes() == (root / "sparse").read_bytes()
    assert (into / "sparse").stat().st_blocks * 512 < 4 * CHUNK_BYTES


def refused(
    tmp_path: Path, damage: Callable[[MemoryBlobs, Digest], Awaitable[None]], error: type[Exception]
) -> None:
    """What becomes of a large and a small file, each chunk of which was damaged alone."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "large").write_bytes(b"l" * (2 * CHUNK_BYTES) + b"tail")
    (root / "small").write_bytes(b"small")

    async def run() -> None:
        blobs = MemoryBlobs()
        kept = await snapshot(root, blobs)
        every = [blob.digest async for blob in blobs.blobs()]
        assert len(every) == 4
        for number, digest in enumerate(every):
            blobs = MemoryBlobs()
            await snapshot(root, blobs)
            await damage(blobs, digest)
            with pytest.raises(error):
                await DirectoryRenderer(blobs).render(kept.manifest, tmp_path / f"into-{number}")

    asyncio.run(run())


def test_a_flipped_byte_in_any_chunk_and_the_manifest_is_refused(tmp_path: Path) -> None:
    async def flip(blobs: MemoryBlobs, digest: Digest) -> None:
        data = bytearray(await blobs.get(digest))
        data[len(data) // 2] ^= 1
        blobs.damage(digest, bytes(data))

    refused(tmp_path, flip, BlobCorrupt)


def test_a_missing_chunk_is_refused(tmp_path: Path) -> None:
    async def remove(blobs: MemoryBlobs, digest: Digest) -> None:
        await blobs.delete([digest])

    refused(tmp_path, remove, BlobMissing)


def test_a_byte_flipped_on_disk_is_refused_by_another_process(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "small").write_bytes(b"small")

    async def run() -> None:
        blobs = await DiskBlobs.open(tmp_path / "blobs")
        kept = await snapshot(root, blobs)
        await blobs.close()
        for path in (tmp_path / "blobs").glob("??/*"):
            data = path.read_bytes()
            path.chmod(0o600)
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
            again = await DiskBlobs.open(tmp_path / "blobs")
            with pytest.raises(BlobCorrupt):
                await DirectoryRenderer(again).render(kept.manifest, tmp_path / f"into-{path.name}")
            await again.close()
            path.write_bytes(data)

    asyncio.run(run())


def test_a_chunk_that_is_too_short_for_what_is_said_of_it_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        blobs = MemoryBlobs()
        part = Part(chunk=await blobs.put(b"short"), offset=2, length=4)
        with pytest.raises(BlobCorrupt):
            await rendered(blobs, tmp_path / "into", File(path="f", attributes=PLAIN, size=4, parts=(part,)))

    asyncio.run(run())


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    with pytest.raises(StateDirectoryError):
        asyncio.run(rendered(MemoryBlobs(), tmp_path / "into"))
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("first", ["a", "b/c", "b/c/d", "link", "link/passwd"])
def test_a_hard_link_to_what_is_no_file_of_the_manifest_is_refused(tmp_path: Path, first: str) -> None:
    made: list[Entry] = [
        ROOT,
        directory("b"),
        file("b/c"),
        Symlink(path="link", attributes=LINK, target="/etc"),
    ]
    good = encode(Manifest(tuple(made)))
    line = f'["h","z","{first}"]\n'.encode()

    async def run() -> None:
        blobs = MemoryBlobs()
        await DirectoryRenderer(blobs).render(await blobs.put(good + line), tmp_path / "into")

    if first in {"b/c", "link"}:
        asyncio.run(run())
        return
    with pytest.raises(TreeInvalid):
        asyncio.run(run())
    assert not (tmp_path / "into" / "z").exists()


def test_a_link_put_in_place_of_a_directory_leads_nowhere(tmp_path: Path) -> None:
    outside, into = tmp_path / "outside", tmp_path / "into"
    outside.mkdir()
    (outside / "f").write_bytes(b"outside")
    writer = DirectoryWriter(into, notes=None, owners=False)
    writer.open()
    try:
        for entry in (ROOT, directory("a"), file("a/f"), directory("b")):
            writer.add(entry)
        # What is written goes on in the directory that was made, wherever it is by now.
        (into / "b").rename(into / "moved")
        (into / "b").symlink_to(outside)
        writer.add(file("b/g"))
        (into / "a").rename(into / "away")
        (into / "a").symlink_to(outside)
        with pytest.raises(TreeInvalid):
            writer.add(Hardlink(path="b/h", first="a/f"))
        writer.end()
    finally:
        writer.close()
    assert os.listdir(outside) == ["f"]
    assert os.listdir(into / "moved") == ["g"]


@pytest.mark.parametrize("there", ["file", "link", "dangling", "directory"])
@pytest.mark.parametrize(
    "entry",
    [
        directory("x"),
        file("x"),
        Symlink(path="x", attributes=LINK, target="f"),
        Fifo(path="x", attributes=PLAIN),
        Hardlink(path="x", first="f"),
    ],
)
def test_a_name_that_somebody_else_took_is_not_used(tmp_path: Path, entry: Entry, there: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o711)
    writer = DirectoryWriter(tmp_path / "into", notes=None, owners=False)
    writer.open()
    try:
        writer.add(ROOT)
        writer.add(file("f"))
        place = tmp_path / "into" / "x"
        match there:
            case "file":
                place.touch()
            case "link":
                place.symlink_to(outside)
            case "dangling":
                place.symlink_to(outside / "new")
            case _:
                place.mkdir()
        with pytest.raises(FileExistsError):
            writer.add(entry)
    finally:
        writer.close()
    assert os.listdir(outside) == []
    assert stat.S_IMODE(outside.stat().st_mode) == 0o711


def test_in_a_directory_like_any_other_whiteouts_have_nothing_to_hide(tmp_path: Path) -> None:
    opaque = Directory(path="d", attributes=mine(0o755), opaque=True)
    asyncio.run(rendered(MemoryBlobs(), tmp_path / "into", opaque, Whiteout(path="w")))
    assert os.listdir(tmp_path / "into") == ["d"]
    assert os.listxattr(tmp_path / "into" / "d") == []


def test_without_owners_nobody_else_gets_what_runs_as_this_user(tmp_path: Path) -> None:
    others = Attributes(mode=0o6755, uid=4_242, gid=4_242)

    async def run() -> None:
        blobs = MemoryBlobs()
        entries = (
            ROOT,
            File(path="own", attributes=mine(0o6755)),
            File(path="x", attributes=others),
        )
        manifest = await blobs.put(encode(Manifest(entries)))
        await DirectoryRenderer(blobs, owners=False).render(manifest, tmp_path / "into")

    asyncio.run(run())
    assert stat.S_IMODE((tmp_path / "into" / "x").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "into" / "own").stat().st_mode) == 0o6755
    assert (tmp_path / "into" / "x").stat().st_uid == os.geteuid()


def test_steps_out_of_order_are_refused(tmp_path: Path) -> None:
    writer = DirectoryWriter(tmp_path / "into", notes=None, owners=False)
    writer.open()
    try:
        with pytest.raises(TreeInvalid):
            writer.add(file("early"))
        writer.add(ROOT)
        with pytest.raises(TreeInvalid):
            writer.add(file("nowhere/f"))
    finally:
        writer.close()
        writer.close()
