"""S3 blobs: a blob store in a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from squall.blobs.at_once import at_once
from squall.blobs.blob_store import PART_BYTES, BlobInfo, check_range
from squall.blobs.digest import Bytes, Digest, agree, is_digest, parse_digest
from squall.blobs.s3_address import S3Address
from squall.blobs.s3_service import Found, Opened, S3Service
from squall.blobs.spool import HELD_BYTES, Spool
from squall.model.errors import BlobCorrupt, BlobMissing, BucketFailed, Error, StoreClosed

_DAMAGED: Final = "damaged"
_RENEWED: Final = ".renewed"
_THREADS: Final = 4
_LOOKS: Final = 4  # at an object that is replaced meanwhile
_SEEN_MOST: Final = 100_000

Seen = tuple[str | None, int]
"""What tells an object that was verified from another one: its ETag and its size."""


class S3Blobs:
    """A BlobStore in a bucket: two digits of the digest name a folder below the prefix, the rest the key in it.

    An object gets its key once its bytes were verified: they wait in a spool here, not under another key there, so
    that a writer that dies leaves no object at all, and no copy of 5 GiB at most has to follow. A blob counts as
    stored at the later of two times of the service: its object's, and that of an empty object beside it (`.renewed`),
    which each renewal writes anew. An object cannot be copied onto itself without new metadata, and a copy would
    change what it is known by.

    Whole blobs are verified each time, by the bytes that arrived. A range is taken from a verified whole at the
    first use by this store object, and asked for alone as long as ETag and size stay what they were then. Damaged
    objects go to `damaged/`. The service answers a put when the bytes are safe, so `forced` changes nothing.

    Several stores may use one bucket. Made by `open`, or directly, and then nothing is asked before it is used.
    Raises also the Bucket errors, and DiskFull where the spool has no room.
    """

    def __init__(self, address: S3Address) -> None:
        self._address = address
        self._service = S3Service(address)
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="s3-blobs")
        self._seen: dict[Digest, Seen] = {}
        self._conditional = True
        self._closed = False

    @classmethod
    async def open(cls, address: S3Address) -> S3Blobs:
        """The store in this bucket, which was asked once: it is there and can be listed."""
        store = cls(address)
        try:
            await store._service.folders(address.prefix)
        except BaseException:
            await store.close()
            raise
        return store

    async def put(
        self,
        data: Bytes | AsyncIterable[Bytes],
        *,
        announced: Digest | None = None,
        forced: bool = True,  # noqa: ARG002 - the service decides what survives
    ) -> Digest:
        self._must_be_open()
        spool = Spool(self._threads)
        try:
            if isinstance(data, bytes | bytearray | memoryview):
                rest = memoryview(data).cast("B")
                for start in range(0, len(rest), PART_BYTES):
                    await spool.add(rest[start : start + PART_BYTES])
            else:
                async for part in data:
                    await spool.add(part)
            digest = spool.digest()
            agree(digest, announced)
            self._must_be_open()
            await self._keep(digest, spool)
        finally:
            spool.close()
        return digest

    async def get(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> bytes:
        check_range(start, stop)
        key = self._key(digest)
        for _ in range(_LOOKS):
            seen = self._seen.get(digest)
            if seen is None or (start == 0 and stop is None):
                spool = await self._fetch(digest)
                try:
                    return await spool.read(start, spool.size if stop is None else stop)
                finally:
                    spool.close()
            end = seen[1] if stop is None else min(stop, seen[1])
            # A range of no bytes cannot be asked for; that the blob is there can.
            try:
                opened = await (
                    self._service.open(key, start, end) if start < end else self._service.head(key)
                )
            except EOFError:
                opened = None  # another object, and a smaller one
            else:
                if opened is None:
                    raise _missing(digest)
            found = opened.found if isinstance(opened, Opened) else opened
            if found is not None and _seen(found) == seen:
                return await opened.whole() if isinstance(opened, Opened) else b""
            self._seen.pop(digest, None)
        raise BucketFailed(f"the blob {digest} is another object at each look", bucket=self._address.bucket)

    async def get_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        self._must_be_open()
        return await at_once(self.get, frozenset(digests))

    async def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        spool = await self._fetch(digest)
        try:
            async for part in spool.parts():
                yield part
        finally:
            spool.close()

    async def has_many(self, digests: Collection[Digest], *, renew: bool = False) -> frozenset[Digest]:
        self._must_be_open()

        async def is_here(digest: Digest) -> bool:
            if await self._service.head(self._key(digest)) is None:
                return False
            if renew:
                await self._renew(digest)
            return True

        told = await at_once(is_here, frozenset(digests))
        return frozenset(digest for digest, here in told.items() if here)

    async def force(self, digests: Collection[Digest]) -> None:
        for digest in frozenset(digests) - await self.has_many(digests):
            raise _missing(digest)

    async def delete(self, digests: Collection[Digest]) -> int:
        here = await self.has_many(digests)
        await self._remove(frozenset(digests))
        return len(here)

    async def blobs(self) -> AsyncIterator[BlobInfo]:
        self._must_be_open()
        for shelf in await self._service.folders(self._address.prefix):
            if len(shelf) == 2:
                for info in await self._list_shelf(shelf):
                    yield info

    async def close(self) -> None:
        self._closed = True
        self._threads.shutdown(wait=False)

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreClosed

    def _key(self, digest: Digest) -> str:
        self._must_be_open()
        parse_digest(digest)
        return f"{self._address.root}{digest[:2]}/{digest[2:]}"

    async def _keep(self, digest: Digest, spool: Spool) -> None:
        """Writes the blob, or renews it where it is known to be good. One that may be damaged is written again."""
        key = self._key(digest)
        if await self._renewed(digest):
            return
        if spool.size > HELD_BYTES:
            self._note(digest, await self._service.put_parts(key, spool), spool.size)
            return
        data = await spool.read(0, spool.size)
        try:
            etag = await self._service.put(key, data, only_absent=self._conditional)
        except FileExistsError:
            etag = await self._service.put(key, data)
        except BucketFailed as error:
            # Some services know no conditions.
            if not (self._conditional and error.details.get("answered") == "501"):
                raise
            etag = await self._service.put(key, data)
            self._conditional = False
        self._note(digest, etag, spool.size)

    async def _renewed(self, digest: Digest) -> bool:
        """Whether this very blob is there, known to be good; it then counts as stored now."""
        seen = self._seen.get(digest)
        if seen is None:
            return False
        found = await self._service.head(self._key(digest))
        if found is None or _seen(found) != seen:
            return False
        await self._renew(digest)
        return True

    async def _renew(self, digest: Digest) -> None:
        await self._service.put(self._key(digest) + _RENEWED, b"")

    async def _remove(self, digests: Collection[Digest]) -> None:
        keys = [self._key(digest) for digest in digests]
        await self._service.delete(keys + [key + _RENEWED for key in keys])
        for digest in digests:
            self._seen.pop(digest, None)

    async def _fetch(self, digest: Digest) -> Spool:
        """The whole blob, verified; the caller closes it."""
        spool, found = await self._arrived(digest)
        if spool.digest() != digest:
            # It may have been damaged on its way: no object is put aside for that.
            spool.close()
            spool, found = await self._arrived(digest)
        if spool.digest() != digest:
            spool.close()
            raise await self._put_aside(digest, found)
        self._note(digest, found.etag, spool.size)
        return spool

    async def _arrived(self, digest: Digest) -> tuple[Spool, Found]:
        """What came when the whole object was asked for."""
        opened = await self._service.open(self._key(digest))
        if opened is None:
            raise _missing(digest)
        spool = Spool(self._threads)
        try:
            async for part in opened.parts():
                await spool.add(part)
        except BaseException:
            spool.close()
            raise
        return spool, opened.found

    async def _put_aside(self, digest: Digest, found: Found) -> BlobCorrupt:
        key, kept = self._key(digest), f"{self._address.root}{_DAMAGED}/{digest}"
        where = f"s3://{self._address.bucket}/{kept}"
        told = "another object has taken their place"
        self._seen.pop(digest, None)
        try:
            now = await self._service.head(key)
            if now is not None and _seen(now) == _seen(found):
                # Between this look and the removal somebody may put the blob anew: it is then missing, and sent again.
                await self._service.copy(key, kept)
                await self._remove([digest])
                told = f"they are in {where} now"
        except Error as error:
            told = f"they could not be put aside: {error}"
        return BlobCorrupt(
            f"the {found.size} bytes kept under the digest {digest} are not those that it names; {told}",
            digest=digest,
            path=where,
        )

    async def _list_shelf(self, shelf: str) -> list[BlobInfo]:
        blobs: dict[Digest, Found] = {}
        renewed: dict[str, float] = {}
        async for page in self._service.pages(f"{self._address.root}{shelf}"):
            for found in page:
                name = shelf + found.key.rpartition("/")[2]
                if is_digest(name):
                    blobs[Digest(name)] = found
                elif name.endswith(_RENEWED):
                    renewed[name.removesuffix(_RENEWED)] = found.stored_s
        return [
            BlobInfo(digest=digest, size=found.size, stored_s=max(found.stored_s, renewed.get(digest, 0.0)))
            for digest, found in blobs.items()
        ]

    def _note(self, digest: Digest, etag: str | None, size: int) -> None:
        """Remembers that this object is the blob; the oldest of very many is forgotten, and verified again."""
        if etag is None:
            return
        self._seen.pop(digest, None)
        self._seen[digest] = etag, size
        if len(self._seen) > _SEEN_MOST:
            del self._seen[next(iter(self._seen))]


def _seen(found: Found) -> Seen:
    return found.etag, found.size


def _missing(digest: Digest) -> BlobMissing:
    return BlobMissing(f"there is no blob {digest}", digest=digest)
