from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import squall
from squall import faults
from squall.blobs.blob_store import PART_BYTES
from squall.blobs.digest import Digest, digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.model.errors import BlobCorrupt, BlobMissing, StateDirectoryError

DATA = bytes(range(256)) * 9000
DIGEST = digest_of(DATA)


def with_store(root: Path, work: Callable[[DiskBlobs], Awaitable[None]], now_s: float | None = None) -> None:
    async def run() -> None:
        store = await (DiskBlobs.open(root) if now_s is None else DiskBlobs.open(root, lambda: now_s))
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def put(root: Path, data: bytes = DATA) -> Path:
    async def work(store: DiskBlobs) -> None:
        await store.put(data)

    with_store(root, work)
    digest = digest_of(data)
    return root / digest[:2] / digest[2:]


def damage_of(kind: str, path: Path) -> None:
    path.chmod(0o600)
    if kind == "one bit":
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    elif kind == "truncated":
        os.truncate(path, len(DATA) - 1)
    elif kind == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("kind", ["one bit", "truncated", "longer", "empty"])
def test_damaged_bytes_are_never_given(kind: str, tmp_path: Path) -> None:
    damage_of(kind, put(tmp_path))

    async def work(store: DiskBlobs) -> None:
        with pytest.raises(BlobCorrupt) as caught:
            await store.get(DIGEST, start=0, stop=1)
        assert caught.value.code == "SQ-1911"
        assert DIGEST in str(caught.value)
        # Put aside: from now on it is missing, so that whoever has the bytes sends them again.
        assert not await store.has_many([DIGEST])
        with pytest.raises(BlobMissing):
            await store.get(DIGEST)
        assert (tmp_path / "damaged" / DIGEST).exists()
        await store.put(DATA)
        assert await store.get(DIGEST) == DATA

    with_store(tmp_path, work)


def test_a_stream_is_verified_before_its_first_part(tmp_path: Path) -> None:
    path = put(tmp_path, b"s" * (2 * PART_BYTES))
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")

    async def work(store: DiskBlobs) -> None:
        with pytest.raises(BlobCorrupt):
            async for _ in store.stream(digest_of(b"s" * (2 * PART_BYTES))):
                pytest.fail("a part came first")

    with_store(tmp_path, work)


def test_damage_after_a_good_read_is_noticed_when_the_file_changed(tmp_path: Path) -> None:
    path = put(tmp_path)

    async def work(store: DiskBlobs) -> None:
        assert await store.get(DIGEST) == DATA
        damage_of("one bit", path)
        with pytest.raises(BlobCorrupt):
            await store.get(DIGEST)

    with_store(tmp_path, work)


def test_a_put_heals_a_damaged_blob(tmp_path: Path) -> None:
    damage_of("one bit", put(tmp_path))
    assert put(tmp_path).read_bytes() == DATA


def test_a_link_in_a_blobs_place_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    root = tmp_path / "blobs"
    path = put(root, b"secret")
    path.unlink()
    path.symlink_to(secret)

    async def work(store: DiskBlobs) -> None:
        with pytest.raises(StateDirectoryError):
            await store.get(digest_of(b"secret"))

    with_store(root, work)


def test_blobs_are_their_owners_alone_and_read_only(tmp_path: Path) -> None:
    path = put(tmp_path / "blobs")
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o700


def test_a_blob_counts_as_stored_when_it_was_renewed_last(tmp_path: Path) -> None:
    now = [1000.0]

    async def run() -> None:
        for renewing in (True, False):
            store = await DiskBlobs.open(tmp_path, lambda: now[0])
            await store.put(b"one")
            now[0] += 500.0
            await (store.has_many([digest_of(b"one")], renew=True) if renewing else store.put(b"one"))
            assert [info.stored_s async for info in store.blobs()] == [now[0]]
            await store.has_many([digest_of(b"one")])
            now[0] += 500.0
            assert [info.stored_s async for info in store.blobs()] == [now[0] - 500.0]
            await store.close()

    asyncio.run(run())


def test_a_descriptor_outlives_its_blob(tmp_path: Path) -> None:
    async def work(store: DiskBlobs) -> None:
        fd = await store.open_blob(await store.put(DATA))
        try:
            await store.delete([DIGEST])
            assert os.pread(fd, len(DATA), 0) == DATA
        finally:
            os.close(fd)

    with_store(tmp_path, work)


def test_what_writers_long_dead_left_goes_and_the_rest_stays(tmp_path: Path) -> None:
    put(tmp_path)
    old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
    for path, stored_s in ((old, 0.0), (young, 90_000.0)):
        path.write_bytes(b"half")
        os.utime(path, (stored_s, stored_s))

    async def work(store: DiskBlobs) -> None:
        assert (old.exists(), young.exists()) == (False, True)
        assert [info.digest async for info in store.blobs()] == [DIGEST]

    with_store(tmp_path, work, now_s=100_000.0)


def test_a_blob_that_another_process_names_while_a_store_is_opened_is_no_problem(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "incoming" / "theirs").write_bytes(DATA)

    def settled_by_now() -> float:
        (tmp_path / "incoming" / "theirs").unlink(missing_ok=True)
        return 100_000.0

    async def run() -> None:
        store = await DiskBlobs.open(tmp_path, settled_by_now)
        assert await store.has_many([DIGEST], renew=True) == {DIGEST}
        await store.close()

    asyncio.run(run())


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    def held() -> set[str]:
        return {
            target
            for name in os.listdir("/proc/self/fd")
            if (target := _target(name)).startswith(str(tmp_path))
        }

    async def work(store: DiskBlobs) -> None:
        await store.put(DATA)
        await store.get(DIGEST, start=5)
        async for _ in store.stream(DIGEST):
            break
        for _ in range(5):
            for doing in (store.open_blob(DIGEST), store.put(parts()), store.get(DIGEST)):
                task = asyncio.ensure_future(doing)
                await asyncio.sleep(0)
                task.cancel()
                given = (await asyncio.gather(task, return_exceptions=True))[0]
                if isinstance(given, int):
                    os.close(given)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"p" * PART_BYTES

    with_store(tmp_path, work)
    assert held() == set()
    assert list((tmp_path / "incoming").iterdir()) == []


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        return ""


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def run() -> None:
        with pytest.raises(StateDirectoryError) as caught:
            await DiskBlobs.open(tmp_path / "file" / "blobs")
        assert str(tmp_path) in str(caught.value)

    asyncio.run(run())


PUT = """
import asyncio, pathlib, sys
from squall.blobs.disk_blobs import DiskBlobs
async def parts():
    for part in range(5):
        yield bytes([part]) * 300_000
async def run():
    store = await DiskBlobs.open(pathlib.Path(sys.argv[1]))
    await store.put(bytes(range(256)) * 9000 if sys.argv[2] == "whole" else parts())
asyncio.run(run())
"""


@pytest.mark.parametrize("how", ["whole", "parts"])
@pytest.mark.parametrize("place", ["blobs.written", "blobs.forced", "blobs.named"])
def test_a_writer_that_dies_leaves_a_whole_blob_or_none(place: str, how: str, tmp_path: Path) -> None:
    source = Path(squall.__file__).parent.parent
    env = {**os.environ, faults.VARIABLE: place, "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", PUT, str(tmp_path), how]
    died = subprocess.run(command, env=env, check=False, timeout=60)
    assert died.returncode == faults.EXIT_CODE
    digest = DIGEST if how == "whole" else digest_of(b"".join(bytes([p]) * 300_000 for p in range(5)))

    async def look(store: DiskBlobs) -> set[Digest]:
        return {info.digest async for info in store.blobs()}

    async def work(store: DiskBlobs) -> None:
        here = await look(store)
        assert here == ({digest} if place == "blobs.named" else set())
        for one in here:
            await store.get(one)

    with_store(tmp_path, work)
    subprocess.run(command, env={**env, faults.VARIABLE: ""}, check=True, timeout=60)

    async def again(store: DiskBlobs) -> None:
        assert await look(store) == {digest}
        assert digest_of(await store.get(digest)) == digest

    with_store(tmp_path, again)


RENEW = """
import asyncio, pathlib, sys
from squall.blobs.digest import Digest
from squall.blobs.disk_blobs import DiskBlobs
async def run():
    store = await DiskBlobs.open(pathlib.Path(sys.argv[1]))
    digest = Digest(sys.argv[2])
    while sys.stdin.readline():
        print(len(await store.has_many([digest], renew=True)), flush=True)
asyncio.run(run())
"""


def test_what_another_process_has_renewed_is_no_longer_old(tmp_path: Path) -> None:
    path = put(tmp_path)
    source = Path(squall.__file__).parent.parent
    other = subprocess.Popen(
        [sys.executable, "-c", RENEW, str(tmp_path), DIGEST],
        env={**os.environ, "PYTHONPATH": str(source)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    async def work(store: DiskBlobs) -> None:
        assert other.stdin is not None
        assert other.stdout is not None
        for _ in range(3):
            os.utime(path, (1000.0, 1000.0))
            print(file=other.stdin, flush=True)
            assert other.stdout.readline() == "1\n"
            assert await store.delete_old([DIGEST], before_s=2000.0) == ()
            assert await store.get(DIGEST) == DATA
        os.utime(path, (1000.0, 1000.0))
        assert [info.size for info in await store.delete_old([DIGEST], before_s=2000.0)] == [len(DATA)]
        print(file=other.stdin, flush=True)
        assert other.stdout.readline() == "0\n"

    try:
        with_store(tmp_path, work)
    finally:
        other.communicate(timeout=60)
    assert other.returncode == 0


@pytest.mark.parametrize("doing", ["renew", "put", "put parts"])
def test_a_renewal_waits_for_who_takes_old_blobs_and_is_then_told_the_truth(
    doing: str, tmp_path: Path
) -> None:
    """The lock is held as a deletion holds it, between its look at the age and the end of the file."""
    path = put(tmp_path, b"old")
    digest = digest_of(b"old")
    os.utime(path, (1000.0, 1000.0))

    async def parts() -> AsyncIterator[bytes]:
        yield b"old"

    async def work(store: DiskBlobs) -> None:
        lock = os.open(tmp_path / "lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        await store.get(digest)  # reading waits for nobody
        coming: asyncio.Future[object] = asyncio.ensure_future(
            store.has_many([digest], renew=True)
            if doing == "renew"
            else store.put(b"old" if doing == "put" else parts())
        )
        done, _ = await asyncio.wait({coming}, timeout=0.2)
        assert not done
        os.unlink(path)
        os.close(lock)
        assert await coming == (frozenset() if doing == "renew" else digest)
        assert await store.has_many([digest]) == (set() if doing == "renew" else {digest})

    with_store(tmp_path, work)


def test_what_heals_a_damaged_blob_is_not_put_aside_in_its_place(tmp_path: Path) -> None:
    path = put(tmp_path)
    good = path.read_bytes()
    damage_of("one bit", path)
    lock = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)

    async def work(store: DiskBlobs) -> None:
        reading = asyncio.ensure_future(store.get(DIGEST))
        # It has seen the damage, and waits to put it aside.
        await asyncio.wait({reading}, timeout=0.5)
        fresh = tmp_path / "incoming" / "healing"
        fresh.write_bytes(good)
        os.rename(fresh, path)
        os.close(lock)
        with pytest.raises(BlobCorrupt):
            await reading
        assert await store.get(DIGEST) == DATA

    with_store(tmp_path, work)


def test_a_check_reads_again_what_was_seen_to_be_good(tmp_path: Path) -> None:
    path = put(tmp_path)
    before = path.stat()

    async def work(store: DiskBlobs) -> None:
        assert await store.get(DIGEST) == DATA
        assert await store.check(DIGEST) == len(DATA)
        damage_of("one bit", path)
        # A disk that rots changes no time stamp.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert len(await store.get(DIGEST)) == len(DATA)
        with pytest.raises(BlobCorrupt):
            await store.check(DIGEST)
        with pytest.raises(BlobMissing):
            await store.check(DIGEST)

    with_store(tmp_path, work)
