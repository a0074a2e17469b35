from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterable, Callable, Collection
from pathlib import Path

import pytest

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Bytes, Digest, digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import Directory, Entry, File, Hardlink, Manifest, Part, Symlink
from squall.blobs.manifest_bytes import decode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.path_names import MAX_DEPTH
from squall.blobs.snapshot import LIKE_ANY, Snapshot, snapshot
from squall.blobs.walk import Again, Found, How, Read, Walk
from squall.model.errors import DiskFull, StateDirectoryError, TreeInvalid

pytestmark = pytest.mark.needs("linux")


def taken(root: Path, how: How = LIKE_ANY) -> tuple[Snapshot, dict[str, Entry], MemoryBlobs]:
    async def run() -> tuple[Snapshot, dict[str, Entry], MemoryBlobs]:
        blobs = MemoryBlobs()
        kept = await snapshot(root, blobs, how=how)
        return kept, by_path(decode(await blobs.get(kept.manifest))), blobs

    return asyncio.run(run())


def by_path(manifest: Manifest) -> dict[str, Entry]:
    return {entry.path: entry for entry in manifest.entries}


def whole(entry: Entry, blobs: MemoryBlobs) -> bytes:
    assert isinstance(entry, File)

    async def run() -> bytes:
        chunks = [await blobs.get(part.chunk) for part in entry.parts]
        return b"".join(
            chunk[part.offset : part.offset + part.length]
            for chunk, part in zip(chunks, entry.parts, strict=True)
        )

    return asyncio.run(run())


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "small").write_bytes(b"small")
    (root / "large").write_bytes(b"l" * (2 * CHUNK_BYTES + 3))
    (root / "empty").touch(mode=0o600)
    (root / "out").symlink_to("/etc/passwd")
    os.link(root / "d" / "small", root / "z")
    os.utime(root / "large", ns=(0, -1_500_000_000))
    kept, found, blobs = taken(root)
    assert list(found) == ["", "d", "d/small", "empty", "large", "out", "z"]
    assert whole(found["d/small"], blobs) == b"small"
    assert whole(found["large"], blobs) == b"l" * (2 * CHUNK_BYTES + 3)
    assert whole(found["empty"], blobs) == b""
    assert found["z"] == Hardlink(path="z", first="d/small")
    link, large = found["out"], found["large"]
    assert isinstance(link, Symlink)
    assert link.target == "/etc/passwd"
    assert isinstance(large, File)
    assert large.attributes.mtime_ns == -1_500_000_000
    assert large.attributes.uid == os.geteuid()
    assert (kept.entries, kept.size) == (7, 2 * CHUNK_BYTES + 3 + 5)
    assert kept.changed == kept.left_out == ()


def test_small_files_share_a_chunk_and_large_ones_have_their_own(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 10)
    (tmp_path / "b-large").write_bytes(b"l" * CHUNK_BYTES)
    (tmp_path / "z-large").write_bytes(b"l" * (CHUNK_BYTES + 1))
    _, found, _ = taken(tmp_path)
    small = {part.chunk for name in "abc" for part in parts(found[name])}
    assert small == {digest_of(b"a" * 10 + b"b" * 10 + b"c" * 10)}
    assert parts(found["b-large"])[0] == parts(found["z-large"])[0]
    assert parts(found["z-large"])[1].chunk == digest_of(b"l")


def parts(entry: Entry) -> tuple[Part, ...]:
    assert isinstance(entry, File)
    return entry.parts


class Counted(MemoryBlobs):
    """Knows how many chunks were put."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0

    async def put(
        self, data: Bytes | AsyncIterable[Bytes], *, announced: Digest | None = None, forced: bool = True
    ) -> Digest:
        self.puts += isinstance(data, bytes)
        return await super().put(data, announced=announced, forced=forced)


def test_a_second_snapshot_puts_nothing_but_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * CHUNK_BYTES)

    async def run() -> None:
        blobs = Counted()
        first = await snapshot(tmp_path, blobs)
        assert blobs.puts == 1
        assert await snapshot(tmp_path, blobs) == first
        assert blobs.puts == 1
        (tmp_path / "b").write_bytes(b"b")
        await snapshot(tmp_path, blobs)
        assert blobs.puts == 2

    asyncio.run(run())


def test_a_chunk_that_was_damaged_in_the_store_is_put_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"a" * CHUNK_BYTES)

    async def run() -> None:
        blobs = await DiskBlobs.open(tmp_path / "blobs")
        first = await snapshot(root, blobs)
        chunk = digest_of(b"a" * CHUNK_BYTES)
        path = tmp_path / "blobs" / chunk[:2] / chunk[2:]
        path.chmod(0o600)
        path.write_bytes(b"b" * CHUNK_BYTES)
        assert await snapshot(root, blobs) == first
        assert await blobs.get(chunk) == b"a" * CHUNK_BYTES
        await blobs.close()

    asyncio.run(run())


def test_the_manifest_is_kept_after_its_chunks(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 9 * CHUNK_BYTES)

    class Full(MemoryBlobs):
        async def has_many(self, digests: Collection[Digest], *, renew: bool = False) -> frozenset[Digest]:
            raise DiskFull

    async def run() -> None:
        blobs = Full()
        with pytest.raises(DiskFull):
            await snapshot(tmp_path, blobs)
        assert [blob async for blob in blobs.blobs()] == []

    asyncio.run(run())


def test_the_same_files_at_another_time_give_the_same_manifest_when_times_are_clamped(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").touch()
        os.utime(tmp_path / name / "old", ns=(0, 5))
        (tmp_path / name / "new").write_bytes(b"new")
        os.utime(tmp_path / name / "new", (0, 2_000 + len(name)))
    how = How(clamp_mtime_s=1_000)
    one, found, _ = taken(tmp_path / "one", how)
    other, _, _ = taken(tmp_path / "other", how)
    assert one == other
    assert taken(tmp_path / "one")[0] != taken(tmp_path / "other")[0]
    times = {
        path: entry.attributes.mtime_ns
        for path, entry in found.items()
        if isinstance(entry, Directory | File)
    }
    assert times == {"": 1_000_000_000_000, "old": 5, "new": 1_000_000_000_000}


def test_a_socket_is_left_out_and_said(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        kept, found, _ = taken(tmp_path)
    assert list(found) == [""]
    assert kept.left_out == ("s",)


def test_a_directory_too_deep_is_refused(tmp_path: Path) -> None:
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(MAX_DEPTH + 1):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(before)
    with pytest.raises(TreeInvalid, match="deeper"):
        taken(tmp_path)


def test_what_is_no_directory_is_an_error_with_a_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("nothing", "file", "link"):
        with pytest.raises(StateDirectoryError):
            taken(tmp_path / name)


def rest(walk: Walk, between: Callable[[], None] = lambda: None) -> list[Found]:
    found: list[Found] = []
    while taken := walk.take():
        found += taken
        between()
    return found


LONG = 9 << 20  # more than a walk takes at once


def test_a_file_that_grew_while_it_was_read_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"l" * LONG)
    walk = Walk(tmp_path, LIKE_ANY)
    walk.take()
    with (tmp_path / "log").open("ab") as log:
        log.write(b"more")
    found = rest(walk)
    assert Again() in found
    assert [read.size for read in found if isinstance(read, Read)] == [LONG + 4]
    assert sum(len(data) for data in found[found.index(Again()) :] if isinstance(data, bytes)) == LONG + 4
    assert walk.changed == []


def test_bytes_that_changed_and_not_the_size_are_noticed_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"l" * LONG)
    walk = Walk(tmp_path, LIKE_ANY)
    walk.take()
    with (tmp_path / "file").open("r+b") as file:
        file.write(b"x")
    os.utime(tmp_path / "file", ns=(0, 0))
    found = rest(walk)
    assert next(data for data in found[found.index(Again()) :] if isinstance(data, bytes))[:2] == b"xl"


@pytest.mark.parametrize("change", [1, -1])
def test_a_file_that_never_rests_is_told(tmp_path: Path, change: int) -> None:
    (tmp_path / "log").write_bytes(b"l" * LONG)
    sizes = iter(range(LONG + change, LONG + 100 * change, change))
    walk = Walk(tmp_path, LIKE_ANY)
    found = rest(walk, lambda: os.truncate(tmp_path / "log", next(sizes)))
    assert found.count(Again()) == 2
    assert walk.changed == ["log"]
    last = len(found) - found[::-1].index(Again())
    sizes_read = sum(len(data) for data in found[last:] if isinstance(data, bytes))
    assert [read.size for read in found if isinstance(read, Read)] == [sizes_read]


def test_what_went_meanwhile_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"l" * LONG)
    (tmp_path / "b").touch()
    walk = Walk(tmp_path, LIKE_ANY)
    walk.take()
    (tmp_path / "b").unlink()
    rest(walk)
    assert walk.changed == ["b"]


def test_what_is_taken_of_a_changing_file_is_one_reading(tmp_path: Path) -> None:
    # Long enough for several parts, one of which is read while the one before it is kept.
    (tmp_path / "log").write_bytes(b"l" * 4 * LONG)

    class Writing(MemoryBlobs):
        async def has_many(self, digests: Collection[Digest], *, renew: bool = False) -> frozenset[Digest]:
            with (tmp_path / "log").open("ab") as log:
                log.write(b"more")
            return await super().has_many(digests, renew=renew)

    async def run() -> None:
        blobs = Writing()
        kept = await snapshot(tmp_path, blobs)
        entry = by_path(decode(await blobs.get(kept.manifest)))["log"]
        assert isinstance(entry, File)
        assert kept.changed == ("log",)
        assert entry.size == kept.size >= 4 * LONG + 8

    asyncio.run(run())


def test_a_link_put_in_place_of_a_directory_leads_nowhere(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "d").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            exchange(root, "d", "link")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(300):
            walk = Walk(root, LIKE_ANY)
            found = rest(walk)
            assert not any(isinstance(one, File | Read) or one == b"secret" for one in found)
    finally:
        ended.set()
        swapping.join()


def exchange(root: Path, one: str, other: str) -> None:
    os.rename(root / one, root / "aside")
    os.rename(root / other, root / one)
    os.rename(root / "aside", root / other)


def test_a_walk_that_ends_early_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"l" * LONG)
    before = os.listdir("/proc/self/fd")
    walk = Walk(tmp_path, LIKE_ANY)
    walk.take()
    assert len(os.listdir("/proc/self/fd")) > len(before)
    walk.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)
