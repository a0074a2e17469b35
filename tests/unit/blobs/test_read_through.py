"""Blobs of a server, fetched to a node when they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from squall.blobs.digest import Digest, digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import Attributes, Directory, File, Manifest, Part
from squall.blobs.manifest_bytes import encode
from squall.blobs.read_through import ReadThroughBlobs
from squall.model.errors import BlobMissing, ConnectionLost, DigestMismatch


class Far:
    """A server: what it has, what it was asked for, and how it fails."""

    def __init__(self, *blobs: bytes) -> None:
        self.blobs = {digest_of(data): data for data in blobs}
        self.asked: list[Digest] = []
        self.gone = False

    async def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        self.asked.append(digest)
        if self.gone:
            raise ConnectionLost("nobody is there")
        if digest not in self.blobs:
            raise BlobMissing(digest)
        data = self.blobs[digest]
        for start in range(0, len(data) or 1, 5):
            await asyncio.sleep(0)
            yield data[start : start + 5]


def run(tmp_path: Path, far: Far, play: Callable[[ReadThroughBlobs, DiskBlobs], Awaitable[None]]) -> None:
    async def body() -> None:
        near = await DiskBlobs.open(tmp_path / "near")
        store = ReadThroughBlobs(near, far)
        try:
            await play(store, near)
        finally:
            await store.close()

    asyncio.run(body())


def test_what_is_not_near_is_fetched_once_however_many_read_it(tmp_path: Path) -> None:
    far = Far(b"a" * 1000)
    (digest,) = far.blobs

    async def play(store: ReadThroughBlobs, near: DiskBlobs) -> None:
        read = await asyncio.gather(*(store.get(digest) for _ in range(20)))
        assert set(read) == {b"a" * 1000}
        assert b"".join([part async for part in store.stream(digest)]) == b"a" * 1000
        assert await store.get(digest, start=999) == b"a"
        assert await store.get_many([digest]) == {digest: b"a" * 1000}
        assert far.asked == [digest]
        assert await near.get(digest) == b"a" * 1000

    run(tmp_path, far, play)


def test_what_is_put_stays_here_and_only_that_is_listed(tmp_path: Path) -> None:
    far = Far(b"theirs")

    async def play(store: ReadThroughBlobs, _near: DiskBlobs) -> None:
        own = await store.put(b"own")
        assert [info.digest async for info in store.blobs()] == [own]
        assert await store.has_many([own, *far.blobs]) == {own}
        assert far.asked == []

    run(tmp_path, far, play)


def test_bytes_that_are_not_what_they_should_be_are_never_given_or_kept(tmp_path: Path) -> None:
    far = Far(b"right")
    (digest,) = far.blobs
    far.blobs[digest] = b"wrong"

    async def play(store: ReadThroughBlobs, near: DiskBlobs) -> None:
        with pytest.raises(DigestMismatch):
            await store.get(digest)
        assert await near.has_many([digest]) == frozenset()
        far.blobs[digest] = b"right"
        assert await store.get(digest) == b"right"

    run(tmp_path, far, play)


def test_a_blob_that_was_damaged_here_is_fetched_anew(tmp_path: Path) -> None:
    far = Far(b"whole" * 100)
    (digest,) = far.blobs

    async def play(store: ReadThroughBlobs, _near: DiskBlobs) -> None:
        await store.get(digest)
        (path,) = [
            path for path in (tmp_path / "near").rglob("*") if path.is_file() and path.stat().st_size == 500
        ]
        path.chmod(0o600)
        path.write_bytes(b"W" + path.read_bytes()[1:])
        assert b"".join([part async for part in store.stream(digest)]) == b"whole" * 100
        assert far.asked == [digest, digest]

    run(tmp_path, far, play)


def test_what_nobody_has_is_missing_and_a_server_that_is_gone_is_named(tmp_path: Path) -> None:
    far = Far()

    async def play(store: ReadThroughBlobs, _near: DiskBlobs) -> None:
        with pytest.raises(BlobMissing):
            await store.get(digest_of(b"nowhere"))
        far.gone = True
        with pytest.raises(ConnectionLost):
            await store.get(digest_of(b"nowhere"))

    run(tmp_path, far, play)


def test_a_directory_is_brought_whole(tmp_path: Path) -> None:
    pieces = [b"piece %d" % number * 10 for number in range(30)]
    kept = Attributes(mode=0o644, uid=0, gid=0, mtime_ns=0)
    files = tuple(
        File(
            path=f"f{number:02}",
            attributes=kept,
            size=len(piece),
            parts=(Part(chunk=digest_of(piece), offset=0, length=len(piece)),),
        )
        for number, piece in enumerate(pieces)
    )
    top = Directory(path="", attributes=Attributes(mode=0o755, uid=0, gid=0, mtime_ns=0))
    manifest = encode(Manifest(entries=(top, *files)))
    far = Far(manifest, *pieces)

    async def play(store: ReadThroughBlobs, near: DiskBlobs) -> None:
        await near.put(pieces[0])
        await store.bring(digest_of(manifest))
        assert await near.has_many(far.blobs) == far.blobs.keys()
        assert sorted(far.asked) == sorted({digest_of(manifest), *map(digest_of, pieces[1:])})
        far.gone = True
        await store.bring(digest_of(manifest))

    run(tmp_path, far, play)
