"""Blob store: bytes kept by their digest."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from squall.blobs.digest import Bytes, Digest

PART_BYTES: Final = 1 << 20  # what a store holds of a blob in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobInfo:
    """A blob as a store lists it. size in bytes; stored_s: seconds since 1970, of the last put or renewal."""

    digest: Digest
    size: int
    stored_s: float


def check_range(start: int, stop: int | None) -> None:
    """Raises ValueError where no bytes lie between `start` and `stop`."""
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"no range of bytes: {start} to {stop}")


class BlobStore(Protocol):
    """Bytes by digest. What is read was verified; what is half written is never seen.

    Raises BlobMissing, BlobCorrupt (the bytes were put aside, and the blob counts as missing from then on),
    DiskFull, StateDirectoryReadOnly, StoreClosed.
    """

    async def put(
        self,
        data: Bytes | AsyncIterable[Bytes],
        *,
        announced: Digest | None = None,
        forced: bool = True,
    ) -> Digest:
        """The digest of these bytes, once they are kept; a blob that is there already is renewed.

        Parts are taken one by one: memory stays below a few MiB. forced: they survive a power cut too, which costs
        two waits for the disk; without it they survive the death of every process, and a power cut may leave a blob
        that is found damaged at its first use: enough for what its sender has and sends again. Raises
        DigestMismatch, and keeps nothing, when the bytes are not what was announced.
        """
        ...

    async def get(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from start to stop (None: the end); fewer, or none, when the blob ends before."""
        ...

    async def get_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        """Whole blobs at once, held in memory: for many small ones."""
        ...

    def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        """The whole blob in parts of at most PART_BYTES, verified before the first is given."""
        ...

    async def has_many(self, digests: Collection[Digest], *, renew: bool = False) -> frozenset[Digest]:
        """Those of `digests` that are here; renew: they count as stored now, so that no sweep takes them."""
        ...

    async def force(self, digests: Collection[Digest]) -> None:
        """Makes blobs that were put without `forced` survive a power cut. Raises BlobMissing."""
        ...

    async def delete(self, digests: Collection[Digest]) -> int:
        """Removes blobs; how many were here."""
        ...

    def blobs(self) -> AsyncIterator[BlobInfo]:
        """Every blob, in no order. Those that come or go meanwhile may or may not be among them."""
        ...

    async def close(self) -> None:
        """Ends the store; a second time does nothing."""
        ...


class LocalBlobStore(BlobStore, Protocol):
    """A blob store that removes under a condition, and so can be swept beside its users.

    A bucket is none: no service removes an object only if a second one, which says that it was renewed, has not come.
    """

    async def delete_old(self, digests: Collection[Digest], *, before_s: float) -> tuple[BlobInfo, ...]:
        """Removes those that were stored and renewed last before this instant, and says which they were.

        A renewal that has been answered, by whatever process, is never lost to it.
        """
        ...

    async def heads(self, digests: Collection[Digest], size: int) -> dict[Digest, bytes]:
        """The first bytes of those that are here, at most `size`, not verified."""
        ...

    async def check(self, digest: Digest) -> int:
        """The size of a blob, every byte of which was read again and is right. Raises BlobMissing, BlobCorrupt."""
        ...
