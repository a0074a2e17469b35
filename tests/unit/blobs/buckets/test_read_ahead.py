"""Reading ahead: the bytes are those of the object, however it is read, and few requests bring them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from squall.blobs.buckets.bucket import ObjectChangedError
from squall.blobs.buckets.memory_bucket import MemoryBucket
from squall.blobs.buckets.read_ahead import ReadAhead

MANY = random.Random(7).randbytes(12_000_000)


async def opened(data: bytes) -> tuple[MemoryBucket, ReadAhead]:
    bucket = MemoryBucket()
    bucket.objects["key"] = data
    known = await bucket.head("key")
    assert known is not None
    return bucket, ReadAhead(bucket, "key", known)


@settings(max_examples=30)
@given(places=st.lists(st.tuples(st.integers(0, len(MANY) + 10), st.integers(1, 1 << 20)), max_size=20))
def test_any_reads_give_the_bytes_of_the_object(places: list[tuple[int, int]]) -> None:
    async def scene() -> None:
        _, reader = await opened(MANY)
        for offset, size in places:
            ready = reader.ready(offset, size)
            found = bytes(ready) if ready is not None else await reader.read(offset, size)
            assert found == MANY[offset : offset + size]
        reader.close()

    asyncio.run(scene())


def test_from_front_to_back_takes_few_requests() -> None:
    async def scene() -> None:
        bucket, reader = await opened(MANY)
        for offset in range(0, len(MANY), 128 * 1024):
            assert await reader.read(offset, 128 * 1024) == MANY[offset : offset + 128 * 1024]
        assert bucket.requests.count("read") < 12
        reader.close()

    asyncio.run(scene())


def test_what_lies_far_apart_is_asked_for_as_it_is() -> None:
    async def scene() -> None:
        bucket, reader = await opened(MANY)
        sizes: list[int] = []
        read = bucket.read

        async def noted(key: str, start: int, stop: int, etag: str | None) -> bytes:
            sizes.append(stop - start)
            return await read(key, start, stop, etag)

        bucket.read = noted  # type: ignore[method-assign]  # to see what is asked for
        for offset in (9_000_000, 3_000_000, 6_000_000):
            await reader.read(offset, 4096)
        assert sizes == [4096] * 3
        reader.close()

    asyncio.run(scene())


def test_an_object_that_was_replaced_is_never_mixed_with_the_new_one() -> None:
    async def scene() -> None:
        bucket, reader = await opened(MANY)
        await reader.read(0, 4096)
        bucket.objects["key"] = b"x" * len(MANY)
        bucket.see_anew("key")
        with pytest.raises(ObjectChangedError):
            await reader.read(11_000_000, 4096)
        reader.close()

    asyncio.run(scene())


def test_a_read_that_failed_is_tried_anew_by_the_next() -> None:
    async def scene() -> None:
        bucket, reader = await opened(MANY)
        bucket.failing = ConnectionError("away")
        with pytest.raises(ConnectionError):
            await reader.read(0, 4096)
        bucket.failing = None
        assert await reader.read(0, 4096) == MANY[:4096]
        reader.close()

    asyncio.run(scene())


def test_who_gives_up_takes_nothing_from_others() -> None:
    async def scene() -> None:
        bucket, reader = await opened(MANY)
        gate = asyncio.Event()
        read = bucket.read

        async def slow(*given: Any) -> bytes:
            await gate.wait()
            return await read(*given)

        bucket.read = slow  # type: ignore[method-assign,assignment]  # to hold it up
        one = asyncio.create_task(reader.read(0, 100))
        other = asyncio.create_task(reader.read(50, 100))
        await asyncio.sleep(0)
        one.cancel()
        gate.set()
        assert await other == MANY[50:150]
        reader.close()

    asyncio.run(scene())
