"""Memory blobs: a blob store that ends with its process, for tests and simulation."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection

from squall.blobs.blob_store import PART_BYTES, BlobInfo, check_range
from squall.blobs.digest import Bytes, Digest, agree, digest_of
from squall.model.errors import BlobCorrupt, BlobMissing, StoreClosed


class MemoryBlobs:
    """A BlobStore in a dict. clock: seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[Digest, tuple[bytes, float]] = {}
        self._closed = False

    async def put(
        self,
        data: Bytes | AsyncIterable[Bytes],
        *,
        announced: Digest | None = None,
        forced: bool = True,  # noqa: ARG002 - nothing here survives a power cut
    ) -> Digest:
        self._open()
        if isinstance(data, bytes | bytearray | memoryview):
            whole = bytes(data)
        else:
            whole = b"".join([bytes(part) async for part in data])
        digest = digest_of(whole)
        agree(digest, announced)
        self._kept[digest] = (whole, self._clock())
        return digest

    async def get(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> bytes:
        check_range(start, stop)
        return self._verified(digest)[start:stop]

    async def get_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        return {digest: self._verified(digest) for digest in digests}

    async def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        whole = self._verified(digest)
        for start in range(0, len(whole), PART_BYTES):
            yield whole[start : start + PART_BYTES]

    async def has_many(self, digests: Collection[Digest], *, renew: bool = False) -> frozenset[Digest]:
        self._open()
        here = frozenset(digest for digest in digests if digest in self._kept)
        if renew:
            self._kept.update({digest: (self._kept[digest][0], self._clock()) for digest in here})
        return here

    async def force(self, digests: Collection[Digest]) -> None:
        for digest in digests:
            self._verified(digest)

    async def delete(self, digests: Collection[Digest]) -> int:
        self._open()
        return sum(self._kept.pop(digest, None) is not None for digest in set(digests))

    async def delete_old(self, digests: Collection[Digest], *, before_s: float) -> tuple[BlobInfo, ...]:
        self._open()
        gone: list[BlobInfo] = []
        for digest in frozenset(digests) & self._kept.keys():
            whole, stored_s = self._kept[digest]
            if stored_s < before_s:
                del self._kept[digest]
                gone.append(BlobInfo(digest=digest, size=len(whole), stored_s=stored_s))
        return tuple(gone)

    async def heads(self, digests: Collection[Digest], size: int) -> dict[Digest, bytes]:
        self._open()
        return {digest: self._kept[digest][0][:size] for digest in digests if digest in self._kept}

    async def check(self, digest: Digest) -> int:
        return len(self._verified(digest))

    async def blobs(self) -> AsyncIterator[BlobInfo]:
        self._open()
        for digest, (whole, stored_s) in list(self._kept.items()):
            yield BlobInfo(digest=digest, size=len(whole), stored_s=stored_s)

    async def close(self) -> None:
        self._closed = True

    def damage(self, digest: Digest, data: bytes) -> None:
        """Puts other bytes in a blob's place, as a failing disk would; for tests of who reads it."""
        self._kept[digest] = (data, self._kept[digest][1])

    def _verified(self, digest: Digest) -> bytes:
        self._open()
        if digest not in self._kept:
            raise BlobMissing(f"there is no blob {digest}", digest=digest)
        whole = self._kept[digest][0]
        if digest_of(whole) != digest:
            del self._kept[digest]
            raise BlobCorrupt(f"the bytes of the blob {digest} are damaged", digest=digest)
        return whole

    def _open(self) -> None:
        if self._closed:
            raise StoreClosed
