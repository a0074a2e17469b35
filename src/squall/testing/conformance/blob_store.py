"""Blob store conformance: what every implementation of BlobStore must do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from squall.blobs.blob_store import PART_BYTES, BlobStore
from squall.blobs.digest import Digest, digest_of
from squall.model.errors import BlobMissing, DigestMismatch, Error, StoreClosed

E = TypeVar("E", bound=BaseException)

Check = Callable[[BlobStore], Awaitable[None]]

_ABSENT: Final = digest_of(b"nobody ever stored this")


async def what_was_put_is_given_back(store: BlobStore) -> None:
    for data in (b"", b"x", bytes(range(256)) * 5000):
        digest = await store.put(data)
        assert digest == digest_of(data)
        assert await store.get(digest) == data
        assert await _all(store, digest) == data


async def every_kind_of_bytes_is_taken(store: BlobStore) -> None:
    data = b"some bytes of a kind"
    digests = {await store.put(kind) for kind in (data, bytearray(data), memoryview(data))}
    assert digests == {digest_of(data)}


async def parts_make_one_blob(store: BlobStore) -> None:
    parts = [b"a" * PART_BYTES, b"", b"b" * (2 * PART_BYTES + 3), b"c"]
    digest = await store.put(_parts(parts))
    assert digest == digest_of(b"".join(parts))
    assert await _all(store, digest) == b"".join(parts)


async def a_stream_comes_in_bounded_parts(store: BlobStore) -> None:
    digest = await store.put(b"z" * (3 * PART_BYTES + 1))
    sizes = [len(part) async for part in store.stream(digest)]
    assert max(sizes) <= PART_BYTES
    assert sum(sizes) == 3 * PART_BYTES + 1


async def a_range_ends_where_the_blob_ends(store: BlobStore) -> None:
    digest = await store.put(b"0123456789")
    assert await store.get(digest, start=2, stop=5) == b"234"
    assert await store.get(digest, start=8) == b"89"
    assert await store.get(digest, start=8, stop=100) == b"89"
    assert await store.get(digest, start=100) == b""
    await _raised(ValueError, store.get(digest, start=-1))
    await _raised(ValueError, store.get(digest, start=5, stop=2))


async def bytes_that_were_not_announced_are_refused(store: BlobStore) -> None:
    data = b"what came"
    await _raised(DigestMismatch, store.put(data, announced=_ABSENT))
    await _raised(DigestMismatch, store.put(_parts([data]), announced=_ABSENT))
    assert not await store.has_many([digest_of(data), _ABSENT])
    assert await store.put(data, announced=digest_of(data)) == digest_of(data)


async def a_put_that_breaks_off_leaves_nothing(store: BlobStore) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"half of it"
        raise EOFError

    await _raised(EOFError, store.put(breaking()))
    assert [info async for info in store.blobs()] == []


async def a_missing_blob_is_named(store: BlobStore) -> None:
    error = await _raised(BlobMissing, store.get(_ABSENT))
    assert _ABSENT in str(error)
    await _raised(BlobMissing, store.get(_ABSENT, start=3))
    await _raised(BlobMissing, _all(store, _ABSENT))


async def what_is_no_digest_names_no_blob(store: BlobStore) -> None:
    for wrong in ("", "..", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 65, "a" * 63 + "/"):
        try:
            await store.get(Digest(wrong))
        except (ValueError, Error):
            continue
        raise AssertionError(f"{wrong!r} was taken for a digest")


async def those_that_are_here_are_told(store: BlobStore) -> None:
    here = {await store.put(bytes([number])) for number in range(20)}
    assert await store.has_many([*here, _ABSENT]) == here
    assert await store.has_many([]) == frozenset()
    assert await store.has_many([*here], renew=True) == here


async def many_small_ones_come_at_once(store: BlobStore) -> None:
    put = {await store.put(bytes([number]) * number): bytes([number]) * number for number in range(30)}
    assert await store.get_many(list(put)) == put
    assert await store.get_many([]) == {}
    error = await _raised(BlobMissing, store.get_many([*put, _ABSENT]))
    assert _ABSENT in str(error)


async def a_blob_may_be_forced_later(store: BlobStore) -> None:
    digest = await store.put(b"sent again if it must be", forced=False)
    parts = await store.put(_parts([b"two", b"parts"]), forced=False)
    assert await store.has_many([digest, parts]) == {digest, parts}
    await store.force([digest, parts])
    assert await store.get(digest) == b"sent again if it must be"
    assert await store.get(parts) == b"twoparts"
    await _raised(BlobMissing, store.force([_ABSENT]))


async def a_deleted_blob_is_gone(store: BlobStore) -> None:
    first, second = await store.put(b"first"), await store.put(b"second")
    assert await store.delete([first, _ABSENT]) == 1
    assert await store.delete([first]) == 0
    await _raised(BlobMissing, store.get(first))
    assert await store.get(second) == b"second"
    assert await store.put(b"first") == first
    assert await store.get(first) == b"first"


async def the_list_says_what_is_here(store: BlobStore) -> None:
    put = {await store.put(b"n" * number): number for number in range(50)}
    listed = {info.digest: info.size async for info in store.blobs()}
    assert listed == put


async def a_second_put_renews_the_age(store: BlobStore) -> None:
    digest = await store.put(b"kept for long")
    before = {info.digest: info.stored_s async for info in store.blobs()}[digest]
    await store.put(b"kept for long")
    after = {info.digest: info.stored_s async for info in store.blobs()}[digest]
    assert after >= before
    assert [info.digest async for info in store.blobs()] == [digest]


async def many_at_once_do_not_meet(store: BlobStore) -> None:
    data = [bytes([number % 7]) * 10_000 for number in range(40)]
    digests = await asyncio.gather(*(store.put(_parts([one])) for one in data))
    assert digests == [digest_of(one) for one in data]
    assert list(await asyncio.gather(*map(store.get, digests))) == data
    assert len([info async for info in store.blobs()]) == 7


async def a_cancelled_put_leaves_the_store_whole(store: BlobStore) -> None:
    putting = asyncio.ensure_future(store.put(_parts([b"p" * PART_BYTES] * 8)))
    await asyncio.sleep(0)
    putting.cancel()
    await asyncio.gather(putting, return_exceptions=True)
    data = b"after it"
    assert await store.get(await store.put(data)) == data


async def a_closed_store_says_so(store: BlobStore) -> None:
    digest = await store.put(b"last words")
    await store.close()
    await store.close()
    await _raised(StoreClosed, store.get(digest))
    await _raised(StoreClosed, store.put(b"too late"))


CHECKS: Final[tuple[Check, ...]] = (
    what_was_put_is_given_back,
    every_kind_of_bytes_is_taken,
    parts_make_one_blob,
    a_stream_comes_in_bounded_parts,
    a_range_ends_where_the_blob_ends,
    bytes_that_were_not_announced_are_refused,
    a_put_that_breaks_off_leaves_nothing,
    a_missing_blob_is_named,
    what_is_no_digest_names_no_blob,
    those_that_are_here_are_told,
    many_small_ones_come_at_once,
    a_blob_may_be_forced_later,
    a_deleted_blob_is_gone,
    the_list_says_what_is_here,
    a_second_put_renews_the_age,
    many_at_once_do_not_meet,
    a_cancelled_put_leaves_the_store_whole,
    a_closed_store_says_so,
)
"""Each takes a fresh, empty store, and raises AssertionError where the store is none of ours."""


async def _all(store: BlobStore, digest: Digest) -> bytes:
    return b"".join([part async for part in store.stream(digest)])


async def _parts(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


async def _raised(kind: type[E], doing: Awaitable[object]) -> E:
    try:
        await doing
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
