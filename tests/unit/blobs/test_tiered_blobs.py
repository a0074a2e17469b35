from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from random import Random
from typing import Any

import pytest

from squall.blobs.blob_store import PART_BYTES, BlobStore
from squall.blobs.digest import Digest, digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.s3_blobs import S3Blobs
from squall.blobs.tiered_blobs import TieredBlobs
from squall.model.errors import BlobMissing, BucketUnreachable, DigestMismatch, StoreClosed
from tests import seaweed as services

KIB = 1 << 10
BUDGET = 100 * KIB
LARGE = b"l" * (5 * PART_BYTES + 1)


class Watched(MemoryBlobs):
    """A far store that counts what is asked of it, and lets the first part go when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        self.streams += 1
        await self.gate.wait()
        async for part in super().stream(digest):
            yield part


def with_tiers(
    directory: Path,
    work: Callable[[TieredBlobs, Watched], Awaitable[None]],
    budget_bytes: int = BUDGET,
    clock: Callable[[], float] | None = None,
) -> None:
    async def run() -> None:
        far = Watched()
        near = await DiskBlobs.open(directory)
        store = await TieredBlobs.open(far, near, budget_bytes, *([clock] if clock else []))
        try:
            await work(store, far)
        finally:
            await store.close()

    asyncio.run(run())


def near_files(directory: Path) -> dict[str, int]:
    """What is near, as the disk shows it: each digest and its bytes."""
    return {
        path.parent.name + path.name: path.stat().st_size
        for path in directory.glob("??/*")
        if len(path.name) == 62
    }


def one_of(number: int, size: int = 10 * KIB) -> bytes:
    return bytes([number]) * size


async def whole(store: BlobStore, digest: Digest) -> bytes:
    return b"".join([part async for part in store.stream(digest)])


@pytest.mark.parametrize("how", ["get", "range", "stream", "many"])
@pytest.mark.parametrize("data", [one_of(1), LARGE], ids=["small", "large"])
def test_a_blob_is_fetched_once_however_many_ask(data: bytes, how: str, tmp_path: Path) -> None:
    async def work(store: TieredBlobs, far: Watched) -> None:
        digest = await far.put(data)
        far.gate.clear()
        ways: dict[str, Callable[[], Awaitable[bytes]]] = {
            "get": lambda: store.get(digest),
            "range": lambda: store.get(digest, start=0, stop=len(data)),
            "stream": lambda: whole(store, digest),
        }

        async def many() -> bytes:
            return (await store.get_many([digest]))[digest]

        asking = [asyncio.ensure_future(ways.get(how, many)()) for _ in range(20)]
        async with asyncio.timeout(20):
            while not far.streams:
                await asyncio.sleep(0)
        asking[0].cancel()  # it stops waiting; the others do not
        far.gate.set()
        given = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(given[0], asyncio.CancelledError)
        assert given[1:] == [data] * 19
        assert far.streams == 1
        assert near_files(tmp_path) == {digest: len(data)}
        assert await store.get(digest, start=3, stop=9) == data[3:9]
        assert await whole(store, digest) == data
        assert far.streams == 1

    with_tiers(tmp_path, work, budget_bytes=4 * len(LARGE))


class Delayed(DiskBlobs):
    """A near store whose answers wait, once they are known, for as long as `answers` is closed."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.answers = asyncio.Event()
        self.answers.set()
        self.waiting = 0

    async def _away(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        answers = self.answers
        try:
            return await super()._away(work, *args, **kwargs)
        finally:
            self.waiting += 1
            await answers.wait()
            self.waiting -= 1


@pytest.mark.parametrize("how", ["get", "stream"])
def test_a_blob_that_came_while_one_looked_for_it_is_not_fetched_again(how: str, tmp_path: Path) -> None:
    data = one_of(1)

    async def run() -> None:
        far = Watched()
        near = await Delayed.open(tmp_path)
        assert isinstance(near, Delayed)
        store = await TieredBlobs.open(far, near, BUDGET)
        digest = await far.put(data)
        slow = near.answers = asyncio.Event()
        late = asyncio.ensure_future(store.get(digest) if how == "get" else whole(store, digest))
        async with asyncio.timeout(20):
            while not near.waiting:
                await asyncio.sleep(0)
            # It knows that nothing is near, and does not say so yet; another fetches the blob meanwhile.
            near.answers = asyncio.Event()
            near.answers.set()
            assert await store.get(digest) == data
            slow.set()
            assert await late == data
        assert far.streams == 1
        # What is near is still counted: another blob pushes it out.
        await store.put(bytes(BUDGET // 2))
        await store.put(bytes(reversed(range(256))) * (BUDGET // 2 // 256))
        assert digest not in near_files(tmp_path)
        await store.close()

    asyncio.run(run())


def test_a_blob_that_is_missing_is_missing_for_all_who_asked(tmp_path: Path) -> None:
    async def work(store: TieredBlobs, far: Watched) -> None:
        asked = await asyncio.gather(*(store.get(digest_of(b"-")) for _ in range(5)), return_exceptions=True)
        assert [type(error) for error in asked] == [BlobMissing] * 5
        # Nothing remembers that: it may come.
        await far.put(b"-")
        assert await store.get(digest_of(b"-")) == b"-"

    with_tiers(tmp_path, work)


def test_near_never_exceeds_its_budget_and_the_longest_unused_go(tmp_path: Path) -> None:
    now = [1000.0]

    async def work(store: TieredBlobs, far: Watched) -> None:
        digests = []
        for number in range(40):
            now[0] += 1
            digests.append(await store.put(one_of(number)))
            now[0] += 1
            # The first is used all the time.
            assert await store.get(digests[0]) == one_of(0)
            assert sum(near_files(tmp_path).values()) <= BUDGET
        assert far.streams == 0
        left = near_files(tmp_path)
        assert digests[0] in left
        newest = digests[-(len(left) - 1) :]
        assert set(left) == {digests[0], *newest}
        assert len(left) >= 9
        # What went is fetched again.
        assert await store.get(digests[5]) == one_of(5)
        assert far.streams == 1
        assert sum(near_files(tmp_path).values()) <= BUDGET

    with_tiers(tmp_path, work, clock=lambda: now[0])


def test_what_goes_counts_until_it_is_gone(tmp_path: Path) -> None:
    class Slow(DiskBlobs):
        gate = asyncio.Event()

        async def delete(self, digests: Collection[Digest]) -> int:
            await self.gate.wait()
            return await super().delete(digests)

    async def run() -> None:
        await (await DiskBlobs.open(tmp_path)).close()
        near = Slow(tmp_path)
        store = await TieredBlobs.open(MemoryBlobs(), near, BUDGET)
        for number in range(10):
            await store.put(one_of(number))
        assert sum(near_files(tmp_path).values()) == BUDGET
        # The first has others removed, and more than it needs: the second must not write before they are.
        putting = [asyncio.ensure_future(store.put(one_of(number))) for number in (10, 11)]
        await asyncio.wait(putting, timeout=0.3)
        assert sum(near_files(tmp_path).values()) <= BUDGET
        near.gate.set()
        digests = await asyncio.gather(*putting)
        assert set(digests) <= near_files(tmp_path).keys()
        assert sum(near_files(tmp_path).values()) <= BUDGET
        await store.close()

    asyncio.run(run())


class Leaving(DiskBlobs):
    """A near store from which what was found a number of times goes the moment after: its eviction was on the way."""

    times = 0

    async def get(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> bytes:
        found = await super().get(digest, start=start, stop=stop)
        await self._found(digest)
        return found

    async def open_blob(self, digest: Digest) -> int:
        fd = await super().open_blob(digest)
        await self._found(digest)
        return fd

    async def _found(self, digest: Digest) -> None:
        self.times -= 1
        if not self.times:
            await self.delete([digest])


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("data", [one_of(1), LARGE], ids=["small", "large"])
def test_a_stream_gives_a_blob_whose_eviction_was_on_its_way(data: bytes, times: int, tmp_path: Path) -> None:
    async def run() -> None:
        far = Watched()
        near = await Leaving.open(tmp_path)
        store = await TieredBlobs.open(far, near, 4 * len(data))
        digest = await store.put(data)
        assert await whole(store, digest) == data
        assert list(near_files(tmp_path)) == [digest]
        assert isinstance(near, Leaving)
        near.times = times
        for _ in range(times + 2):
            assert await whole(store, digest) == data
        assert near.times < 0
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("seed", [1, 2])
def test_many_readers_at_once_get_their_bytes_within_the_budget(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    sizes = [random.choice([0, 10, 500 * KIB, 3 << 20, 5 << 20, 9 << 20]) for _ in range(20)] + [
        700 * KIB
    ] * 40
    budget = 20_000_000

    def on_disk() -> int:
        bytes_there = 0
        for path in (*tmp_path.glob("??/*"), *tmp_path.glob("incoming/*")):
            with contextlib.suppress(FileNotFoundError):
                bytes_there += path.stat().st_size
        return bytes_there

    async def work(store: TieredBlobs, far: Watched) -> None:
        data = {await far.put(each): each for each in map(random.randbytes, sizes)}

        async def read(digest: Digest, how: int) -> None:
            match how:
                case 0:
                    assert await store.get(digest) == data[digest]
                case 1:
                    assert await store.get(digest, start=3, stop=50) == data[digest][3:50]
                case 2:
                    assert await whole(store, digest) == data[digest]
                case 3:
                    async with contextlib.aclosing(store.stream(digest)) as parts:  # type: ignore[type-var]  # a generator
                        async for _ in parts:
                            break
                case _:
                    left = asyncio.ensure_future(store.get(digest))
                    await asyncio.wait([left], timeout=random.random() / 100)
                    left.cancel()
                    await asyncio.gather(left, return_exceptions=True)
            # Files come and go while they are counted: no count is of one instant, and each may be too high.
            assert min(on_disk() for _ in range(4)) <= budget

        async def reader() -> None:
            for _ in range(40):
                await read(random.choice(list(data)), random.randrange(5))

        await asyncio.gather(*(reader() for _ in range(12)))

    with_tiers(tmp_path, work, budget_bytes=budget)


def test_what_is_being_read_stays(tmp_path: Path) -> None:
    async def work(store: TieredBlobs, far: Watched) -> None:
        data = b"r" * (3 * PART_BYTES)
        digest = await store.put(data)
        reading = store.stream(digest)
        first = await anext(reading)
        for number in range(12):
            await store.put(one_of(number, PART_BYTES))
            assert digest in near_files(tmp_path)
        assert first + b"".join([part async for part in reading]) == data
        # Nobody reads it any more, and it is the longest unused.
        for number in range(12, 24):
            await store.put(one_of(number, PART_BYTES))
        assert digest not in near_files(tmp_path)

    with_tiers(tmp_path, work, budget_bytes=8 * PART_BYTES)


def test_a_blob_that_would_push_out_half_of_all_others_is_read_and_not_kept(tmp_path: Path) -> None:
    async def work(store: TieredBlobs, far: Watched) -> None:
        small = [await store.put(one_of(number)) for number in range(9)]
        for data in (b"h" * (60 * KIB), LARGE):
            digest = await far.put(data)
            assert await whole(store, digest) == data
            assert await store.get(digest, start=2, stop=4) == data[2:4]
        assert set(near_files(tmp_path)) == set(small)

    with_tiers(tmp_path, work)


def test_after_a_restart_the_order_of_use_is_that_of_the_disk(tmp_path: Path) -> None:
    now = [10_000.0]

    async def run() -> None:
        far = MemoryBlobs()
        near = await DiskBlobs.open(tmp_path, lambda: now[0])
        store = await TieredBlobs.open(far, near, BUDGET, lambda: now[0])
        digests = []
        for number in range(9):
            now[0] += 10
            digests.append(await store.put(one_of(number)))
        now[0] += 4000
        await store.get(digests[0])  # an hour after it came: the disk is told
        await near.close()
        store = await TieredBlobs.open(far, await DiskBlobs.open(tmp_path), 55 * KIB, lambda: now[0])
        left = set(near_files(tmp_path))
        assert digests[0] in left
        assert digests[1] not in left
        assert sum(near_files(tmp_path).values()) <= 55 * KIB
        assert await store.get(digests[1]) == one_of(1)
        await store.close()

    asyncio.run(run())


def test_what_is_damaged_near_is_fetched_again(tmp_path: Path) -> None:
    async def work(store: TieredBlobs, far: Watched) -> None:
        data = one_of(7)
        digest = await store.put(data)
        path = tmp_path / digest[:2] / digest[2:]
        path.chmod(0o600)
        path.write_bytes(data[:-1] + b"x")
        assert await store.get(digest, start=0, stop=5) == data[:5]
        assert far.streams == 1
        assert path.read_bytes() == data

    with_tiers(tmp_path, work)


@pytest.mark.needs("linux")
@pytest.mark.parametrize("data", [one_of(1), LARGE], ids=["small", "large"])
def test_a_disk_that_is_full_fails_no_read_and_no_put(data: bytes, tmp_path: Path) -> None:
    async def work(store: TieredBlobs, far: Watched) -> None:
        kept = [await store.put(one_of(number, KIB)) for number in range(20)]
        digest = await far.put(data)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The kernel refuses to let any file grow beyond this: what a full disk says, said by a limit.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * KIB, before[1]))
        try:
            assert await store.get(digest) == data
            assert await store.get(digest, start=5, stop=7) == data[5:7]
            assert await whole(store, digest) == data
            assert await store.put(one_of(9)) == digest_of(one_of(9))
            assert await store.get(kept[-1]) == one_of(19, KIB)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        # Room was made for what is newer; nothing of what could not be written is left.
        left = near_files(tmp_path)
        assert 0 < len(left) < 20
        assert left.keys() <= set(kept)
        assert list((tmp_path / "incoming").iterdir()) == []
        assert await store.get(digest) == data
        assert near_files(tmp_path).get(digest) == len(data)

    with_tiers(tmp_path, work, budget_bytes=4 * len(LARGE))


def test_a_put_counts_far_first(tmp_path: Path) -> None:
    async def work(store: TieredBlobs, far: Watched) -> None:
        with pytest.raises(DigestMismatch):
            await store.put(b"other bytes", announced=digest_of(b"bytes"))
        assert near_files(tmp_path) == {}
        digest = await store.put(b"bytes")
        assert await far.get(digest) == b"bytes"
        await far.delete([digest])
        # Near it is readable still, and counts as missing: whoever asks what to send, sends it.
        assert await store.get(digest) == b"bytes"
        assert await store.has_many([digest]) == frozenset()
        assert await store.put(b"bytes") == digest
        assert await far.get(digest) == b"bytes"

    with_tiers(tmp_path, work)


def test_who_waits_when_the_store_is_closed_hears_of_it(tmp_path: Path) -> None:
    async def work(store: TieredBlobs, far: Watched) -> None:
        digest = await far.put(b"too late")
        far.gate.clear()
        waiting = asyncio.ensure_future(store.get(digest))
        async with asyncio.timeout(20):
            while not far.streams:
                await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreClosed):
            await waiting

    with_tiers(tmp_path, work)


@pytest.mark.needs("linux")
def test_while_the_far_service_is_down_what_is_near_is_given(tmp_path: Path) -> None:
    with services.running(tmp_path / "service") as own:
        own.bucket("blobs")
        address = own.address("blobs", "node")

        async def run() -> None:
            near = tmp_path / "near"
            store = await TieredBlobs.open(await S3Blobs.open(address), await DiskBlobs.open(near), BUDGET)
            put, read = await store.put(one_of(1)), digest_of(one_of(2))
            other = await S3Blobs.open(address)
            await other.put(one_of(2))
            away = await other.put(one_of(3))
            await other.close()
            assert await store.get(read) == one_of(2)
            own.stop()
            await store.close()
            # Also after a restart of this process: nothing is asked of the service to begin with.
            store = await TieredBlobs.open(S3Blobs(address), await DiskBlobs.open(near), BUDGET)
            assert await store.get(put) == one_of(1)
            assert await whole(store, read) == one_of(2)
            assert await store.get_many([put, read]) == {put: one_of(1), read: one_of(2)}
            refused = await asyncio.gather(
                store.get(away),
                whole(store, away),
                store.put(one_of(4)),
                store.delete([put]),
                store.has_many([put], renew=True),
                return_exceptions=True,
            )
            assert [type(error) for error in refused] == [BucketUnreachable] * 5
            assert await store.has_many([put, read, away]) == {put, read}
            assert digest_of(one_of(4)) not in near_files(near)
            await store.close()

        asyncio.run(run())
