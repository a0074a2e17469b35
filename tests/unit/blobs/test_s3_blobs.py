from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

import squall
from squall import faults
from squall.blobs.at_once import at_once
from squall.blobs.blob_store import PART_BYTES
from squall.blobs.digest import Digest, digest_of
from squall.blobs.s3_address import S3Address, S3Keys
from squall.blobs.s3_blobs import S3Blobs
from squall.model.errors import (
    BlobCorrupt,
    BlobMissing,
    BucketMissing,
    BucketRefused,
    BucketUnreachable,
    FeatureUnavailable,
)
from tests import seaweed as services

pytestmark = pytest.mark.needs("linux")

DATA = bytes(range(256)) * 2000
DIGEST = digest_of(DATA)
LARGE = b"L" * (2 * PART_BYTES) + bytes(range(256)) * (16 << 10)  # 6 MiB: more than one part of an upload


def with_store(address: S3Address, work: Callable[[S3Blobs, S3Store], Awaitable[None]]) -> None:
    async def main() -> None:
        store = await S3Blobs.open(address)
        try:
            await work(store, services.raw(address))
        finally:
            await store.close()

    asyncio.run(main())


def key_of(address: S3Address, digest: Digest) -> str:
    return f"{address.prefix}/{digest[:2]}/{digest[2:]}"


def damaged(kind: str, data: bytes) -> bytes:
    middle = len(data) // 2
    return {
        "one bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "truncated": data[:-1],
        "longer": data + b"x",
        "empty": b"",
    }[kind]


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["one bit", "truncated", "longer", "empty"])
def test_damaged_bytes_are_never_given_and_put_aside(kind: str, data: bytes, address: S3Address) -> None:
    async def work(store: S3Blobs, bucket: S3Store) -> None:
        digest = await store.put(data)
        key = key_of(address, digest)
        for read in ("range", "whole", "stream"):
            await obstore.put_async(bucket, key, damaged(kind, data))
            with pytest.raises(BlobCorrupt) as caught:
                match read:
                    case "range":
                        await store.get(digest, start=0, stop=1)
                    case "whole":
                        await store.get(digest)
                    case _:
                        async for _ in store.stream(digest):
                            pytest.fail("a part came first")
            assert digest in str(caught.value)
            # Put aside: it is missing from now on, so that whoever has the bytes sends them again.
            assert not await store.has_many([digest])
            assert [info async for info in store.blobs()] == []
            with pytest.raises(BlobMissing):
                await store.get(digest)
            aside = await obstore.get_async(bucket, f"{address.prefix}/damaged/{digest}")
            assert bytes(await aside.bytes_async()) == damaged(kind, data)
            await store.put(data)
            assert await store.get(digest) == data

    with_store(address, work)


def test_a_range_of_an_object_that_was_verified_is_asked_for_alone_until_the_object_is_another(
    address: S3Address,
) -> None:
    async def work(store: S3Blobs, bucket: S3Store) -> None:
        digest = await store.put(LARGE)
        assert await store.get(digest, start=5, stop=9) == LARGE[5:9]
        assert await store.get(digest, start=len(LARGE) - 3, stop=len(LARGE) + 10) == LARGE[-3:]
        assert await store.get(digest, start=len(LARGE)) == b""
        # The same bytes as another object, in one part: verified again, and good.
        await obstore.put_async(bucket, key_of(address, digest), LARGE, use_multipart=False)
        assert await store.get(digest, start=5, stop=9) == LARGE[5:9]
        # Other bytes of the same size.
        await obstore.put_async(bucket, key_of(address, digest), damaged("one bit", LARGE))
        with pytest.raises(BlobCorrupt):
            await store.get(digest, start=5, stop=9)

    with_store(address, work)


def test_a_put_heals_what_another_store_left_damaged(address: S3Address) -> None:
    async def work(store: S3Blobs, bucket: S3Store) -> None:
        await obstore.put_async(bucket, key_of(address, DIGEST), damaged("one bit", DATA))
        await store.put(DATA)
        assert await store.get(DIGEST) == DATA

    with_store(address, work)


def test_who_may_only_read_is_told_of_damage_too(seaweed: services.Seaweed, address: S3Address) -> None:
    async def main() -> None:
        await obstore.put_async(services.raw(address), key_of(address, DIGEST), damaged("one bit", DATA))
        reader = await S3Blobs.open(replace(address, keys=services.READER))
        with pytest.raises(BlobCorrupt, match="could not be put aside"):
            await reader.get(DIGEST)
        with pytest.raises(BucketRefused) as caught:
            await reader.put(b"not mine to write")
        assert caught.value.code == "SQ-1914"
        await reader.close()

    asyncio.run(main())


def test_a_renewal_makes_a_blob_younger_and_leaves_its_object_alone(address: S3Address) -> None:
    async def work(store: S3Blobs, bucket: S3Store) -> None:
        async def age() -> float:
            return {info.digest: info.stored_s async for info in store.blobs()}[DIGEST]

        await store.put(DATA)
        before, stored = await obstore.head_async(bucket, key_of(address, DIGEST)), await age()

        async def renewed(way: Callable[[], Awaitable[object]], since_s: float) -> float:
            # The service's clock shows whole seconds.
            async with asyncio.timeout(20):
                while True:
                    await way()
                    if (now := await age()) > since_s:
                        return now

        stored = await renewed(lambda: store.has_many([DIGEST], renew=True), stored)
        await renewed(lambda: store.put(DATA), stored)
        assert await obstore.head_async(bucket, key_of(address, DIGEST)) == before
        await store.has_many([DIGEST])
        assert await store.delete([DIGEST]) == 1
        # Nothing is left of it, the note of its renewal neither.
        assert [meta async for page in obstore.list(bucket, address.prefix) for meta in page] == []

    with_store(address, work)


def test_a_shelf_of_more_than_a_page_is_listed_whole(address: S3Address) -> None:
    async def work(store: S3Blobs, bucket: S3Store) -> None:
        digests = {
            Digest("ab" + digest_of(bytes([number % 256, number // 256]))[2:]) for number in range(1100)
        }
        await at_once(lambda digest: obstore.put_async(bucket, key_of(address, digest), b"x"), digests)
        await obstore.put_async(bucket, f"{address.prefix}/ab/not-a-digest", b"x")
        await obstore.put_async(bucket, f"{address.prefix}/other/{'a' * 62}", b"x")
        assert await store.has_many(sorted(digests)[:40], renew=True) == set(sorted(digests)[:40])
        listed = [info async for info in store.blobs()]
        assert len(listed) == 1100
        assert {info.digest for info in listed} == digests
        assert {info.size for info in listed} == {1}
        assert await store.delete(digests) == 1100
        assert [info async for info in store.blobs()] == []

    with_store(address, work)


def run_program(program: str, address: S3Address, **environ: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, which finds its keys in the environment."""
    assert address.keys
    env = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": address.keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": address.keys.secret_access_key,
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",  # what the URL says counts
        "PYTHONPATH": str(Path(squall.__file__).parent.parent),
        **environ,
    }
    url = f"s3://{address.bucket}/{address.prefix}?endpoint={address.endpoint}&region=us-east-1&patience=5"
    command = [sys.executable, "-c", program, url]
    return subprocess.run(command, env=env, check=False, timeout=100, text=True, capture_output=True)


PUT = """
import asyncio, sys
from squall.blobs.s3_address import parse_s3_url
from squall.blobs.s3_blobs import S3Blobs
from squall.blobs.s3_service import leave

async def parts():
    for number in range(16):
        yield bytes([number]) * (1 << 20)

async def main():
    store = await S3Blobs.open(parse_s3_url(sys.argv[1]))
    await store.put(parts())

asyncio.run(main())
leave(0)
"""


def test_a_writer_that_dies_during_an_upload_leaves_nothing_with_a_digests_name(address: S3Address) -> None:
    digest = digest_of(b"".join(bytes([number]) * (1 << 20) for number in range(16)))

    async def here(store: S3Blobs, bucket: S3Store) -> None:
        assert not await store.has_many([digest])
        assert [info async for info in store.blobs()] == []
        assert [meta async for page in obstore.list(bucket, address.prefix) for meta in page] == []

    died = run_program(PUT, address, SQUALL_FAULT="s3.uploading:9")
    assert died.returncode == faults.EXIT_CODE
    with_store(address, here)
    assert run_program(PUT, address).returncode == 0

    async def again(store: S3Blobs, bucket: S3Store) -> None:
        assert digest_of(await store.get(digest)) == digest

    with_store(address, again)


STREAM = """
import asyncio, hashlib, re, sys
from pathlib import Path
from squall.blobs.s3_address import parse_s3_url
from squall.blobs.s3_blobs import S3Blobs
from squall.blobs.s3_service import leave

def peak_kib():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

async def parts(count):
    for number in range(count):
        yield bytes([number]) * (1 << 20)

async def main():
    store = await S3Blobs.open(parse_s3_url(sys.argv[1]))
    await store.get(await store.put(b"what is loaded at first use, is loaded"))
    before = peak_kib()
    digest = await store.put(parts(64))
    put = peak_kib()
    read = hashlib.sha256()
    async for part in store.stream(digest):
        read.update(part)
    assert read.hexdigest() == digest
    print(put - before, peak_kib() - before)

asyncio.run(main())
leave(0)
"""


def test_memory_is_bounded_while_64_mib_go_and_come(address: S3Address) -> None:
    ended = run_program(STREAM, address)
    assert ended.returncode == 0, ended.stderr
    put_kib, both_kib = map(int, ended.stdout.split())
    print(f"64 MiB: put {put_kib} KiB, put and read {both_kib} KiB")
    assert both_kib < 48 << 10


def test_two_stores_of_one_bucket_see_the_same(address: S3Address) -> None:
    async def work(one: S3Blobs, bucket: S3Store) -> None:
        two = await S3Blobs.open(address)
        data = [bytes([number]) * 3000 for number in range(20)] + [LARGE]

        async def parts(whole: bytes) -> AsyncIterator[bytes]:
            yield whole[:1000]
            yield whole[1000:]

        await asyncio.gather(*(store.put(parts(each)) for each in data for store in (one, two)))
        digests = {digest_of(each): each for each in data}
        assert await one.get_many(digests) == await two.get_many(digests) == digests
        assert await one.delete(digests) == len(digests)
        assert await two.has_many(digests) == frozenset()
        with pytest.raises(BlobMissing):
            await two.get(DIGEST, start=3)
        # What the second knew to be good is gone: put again, it is written again.
        await two.put(data[0])
        assert await one.get(digest_of(data[0])) == data[0]
        await two.close()

    with_store(address, work)


def test_a_bucket_that_is_missing_is_named(seaweed: services.Seaweed) -> None:
    async def main() -> None:
        address = seaweed.address("nobody-made-it")
        with pytest.raises(BucketMissing, match="nobody-made-it"):
            await S3Blobs.open(address)
        store = S3Blobs(address)
        for doing in (store.put(b"x"), store.put(LARGE), store.get(DIGEST)):
            with pytest.raises(BucketMissing):
                await doing
        await store.close()

    asyncio.run(main())


def test_who_is_refused_is_told_so_and_the_secret_is_told_to_nobody(address: S3Address) -> None:
    secret = "this-secret-is-wrong"
    wrong = replace(
        address, keys=S3Keys(access_key_id="owner", secret_access_key=secret, session_token=secret)
    )
    assert secret not in f"{wrong!r} {wrong}"

    async def main() -> None:
        with pytest.raises(BucketRefused) as caught:
            await S3Blobs.open(wrong)
        assert secret not in "".join(traceback.format_exception(caught.value))
        assert secret not in str(caught.value.to_wire())
        store = S3Blobs(wrong)
        for doing in (store.put(b"x"), store.get(DIGEST), store.has_many([DIGEST]), store.delete([DIGEST])):
            with pytest.raises(BucketRefused):
                await doing
        await store.close()

    asyncio.run(main())


def test_a_service_that_is_down_is_named(tmp_path: Path) -> None:
    with services.running(tmp_path / "service") as own:
        own.bucket("blobs")

        async def main() -> None:
            store = await S3Blobs.open(own.address("blobs"))
            digest = await store.put(DATA)
            own.stop()
            raised = await asyncio.gather(
                store.get(digest),
                store.get(digest, start=1, stop=2),
                store.put(DATA),
                store.has_many([digest]),
                store.delete([digest]),
                S3Blobs.open(own.address("blobs")),
                return_exceptions=True,
            )
            assert [type(error) for error in raised] == [BucketUnreachable] * 6
            assert all(isinstance(error, ConnectionError) for error in raised)
            await store.close()

        asyncio.run(main())


def test_without_the_library_it_is_said_what_to_install(address: S3Address) -> None:
    program = "import sys\nsys.modules['obstore'] = None\n" + PUT.replace(
        "asyncio.run(main())",
        "try:\n    asyncio.run(main())\nexcept Exception as error:\n    print(error.code, error.remedy)",
    )
    ended = run_program(program, address)
    assert FeatureUnavailable.code in ended.stdout, ended.stderr
    assert "pip install 'squall[s3]'" in ended.stdout
