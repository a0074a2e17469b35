"""Tiered blobs: a far blob store, and a bounded cache of it on a disk that is near."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
)
from dataclasses import dataclass
from typing import Final, TypeVar

from squall.blobs.at_once import at_once
from squall.blobs.blob_store import PART_BYTES, BlobInfo, BlobStore, check_range
from squall.blobs.digest import Bytes, Digest
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.sweep import Copy, evicted, room_for
from squall.model.errors import (
    BlobCorrupt,
    BlobMissing,
    ConnectionError,  # noqa: A004 - the tree's own
    DiskFull,
    StateDirectoryError,
    StoreClosed,
    TooManyFiles,
)

# A blob up to this size is shared from memory by those who asked at the same time.
_HELD_BYTES: Final = 4 << 20
_RENEWED_S: Final = 3600.0  # how old what the disk knows of a use may be
_TOO_LARGE_MOST: Final = 10_000
_SHARE: Final = 2  # a blob larger than this part of the budget would push out too much

_Seen = TypeVar("_Seen")

_NEAR_FAILED: Final = (DiskFull, StateDirectoryError, TooManyFiles)


@dataclass(slots=True)
class _Kept:
    """A blob that is near. used_s, written_s: seconds since 1970, of its last use, and as the disk knows it."""

    size: int
    used_s: float
    written_s: float


class _NoRoomError(Exception):
    """The cache cannot take this blob, whatever goes."""


class TieredBlobs:
    """A BlobStore that reads from `near` where it can, and else from `far`, once however many ask.

    What counts is in `far`: puts, renewals, deletions and listings are its own. What was read is kept near, verified,
    within budget_bytes; for a new blob those go that were not used for the longest, never one that is being read.
    While `far` cannot be reached, what is near is still given. A disk that is full or broken costs the cache, not
    the read. `near` belongs to this object alone. Made by `open`; `close` closes both. clock: seconds since 1970.
    """

    def __init__(
        self, far: BlobStore, near: DiskBlobs, budget_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._far = far
        self._near = near
        self._budget = budget_bytes
        self._clock = clock
        self._kept: dict[Digest, _Kept] = {}
        self._kept_bytes = 0
        self._coming_bytes = 0
        self._room = asyncio.Lock()  # held until what goes is gone: its bytes count until then
        self._too_large: set[Digest] = set()
        self._readers: Counter[Digest] = Counter()
        self._flights: dict[Digest, asyncio.Task[bytes | None]] = {}
        self._closed = False

    @classmethod
    async def open(
        cls, far: BlobStore, near: DiskBlobs, budget_bytes: int, clock: Callable[[], float] = time.time
    ) -> TieredBlobs:
        """The store, with what `near` holds already. What exceeds the budget goes."""
        store = cls(far, near, budget_bytes, clock)
        async for info in near.blobs():
            store._enter(info.digest, info.size, info.stored_s)
        with contextlib.suppress(_NoRoomError, *_NEAR_FAILED):
            await store._make_room(0)
        return store

    async def put(
        self,
        data: Bytes | AsyncIterable[Bytes],
        *,
        announced: Digest | None = None,
        forced: bool = True,
    ) -> Digest:
        """As BlobStore says. A blob of many parts is not kept near before it is read: its bytes came but once."""
        self._must_be_open()
        digest = await self._far.put(data, announced=announced, forced=forced)
        if isinstance(data, bytes | bytearray | memoryview) and memoryview(data).nbytes <= _HELD_BYTES:
            await self._keep(digest, bytes(data))
        return digest

    async def get(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> bytes:
        check_range(start, stop)
        self._must_be_open()
        with self._reading(digest):
            if (near := await self._get_near(digest, start, stop)) is not None:
                return near
            if (whole := await self._fetched(digest)) is not None:
                return whole[start:stop]
            if (near := await self._get_near(digest, start, stop)) is not None:
                return near
            return await self._far.get(digest, start=start, stop=stop)

    async def get_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        self._must_be_open()
        return await at_once(self.get, frozenset(digests))

    async def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        self._must_be_open()
        with self._reading(digest):
            fd = await self._open_near(digest)
            if fd is None:
                if (whole := await self._fetched(digest)) is not None:
                    for start in range(0, len(whole), PART_BYTES):
                        yield whole[start : start + PART_BYTES]
                    return
                fd = await self._open_near(digest)
            coming = _ending(self._far.stream(digest)) if fd is None else self._near.stream_open(fd)
            async with contextlib.aclosing(coming) as parts:
                async for part in parts:
                    yield part

    async def has_many(self, digests: Collection[Digest], *, renew: bool = False) -> frozenset[Digest]:
        """As `far` says; without `renew`, and while that cannot be reached, those that are near."""
        self._must_be_open()
        try:
            return await self._far.has_many(digests, renew=renew)
        except ConnectionError:
            if renew:
                raise
            return frozenset(digests) & self._kept.keys()

    async def force(self, digests: Collection[Digest]) -> None:
        self._must_be_open()
        await self._far.force(digests)

    async def delete(self, digests: Collection[Digest]) -> int:
        """Removes blobs, near ones too. Another node's cache may hold them still: they are what their digests name."""
        self._must_be_open()
        gone = await self._far.delete(digests)
        with contextlib.suppress(*_NEAR_FAILED):
            async with self._room:
                await self._drop(digests)
        return gone

    async def blobs(self) -> AsyncIterator[BlobInfo]:
        self._must_be_open()
        async for info in self._far.blobs():
            yield info

    async def close(self) -> None:
        self._closed = True
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self._near.close()
        await self._far.close()

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreClosed

    @contextlib.contextmanager
    def _reading(self, digest: Digest) -> Iterator[None]:
        """While this lasts, the blob is not evicted."""
        self._readers[digest] += 1
        try:
            yield
        finally:
            self._readers[digest] -= 1
            if not self._readers[digest]:
                del self._readers[digest]

    async def _open_near(self, digest: Digest) -> int | None:
        """A descriptor of the blob, if it is near, whole and verified: an eviction that was on its way leaves it good."""
        await self._used(digest)
        return await self._seen_near(digest, lambda: self._near.open_blob(digest))

    async def _get_near(self, digest: Digest, start: int, stop: int | None) -> bytes | None:
        """The bytes, if the blob is near and the disk gives it; this counts as a use."""
        given = await self._seen_near(digest, lambda: self._near.get(digest, start=start, stop=stop))
        if given is not None:
            await self._used(digest)
        return given

    async def _seen_near(self, digest: Digest, look: Callable[[], Awaitable[_Seen]]) -> _Seen | None:
        """What a look at the disk gives, if the blob is near.

        Looks again where the blob came while it looked: it is not fetched twice, and what came stays counted.
        """
        while True:
            before = self._kept.get(digest)
            try:
                return await look()
            except (BlobMissing, BlobCorrupt):
                if self._kept.get(digest) is before:
                    self._leave(digest)
                if digest not in self._kept:
                    return None
            except _NEAR_FAILED:
                return None

    async def _used(self, digest: Digest) -> None:
        kept = self._kept.get(digest)
        if kept is None:
            return
        kept.used_s = self._clock()
        if kept.used_s - kept.written_s > _RENEWED_S:
            kept.written_s = kept.used_s
            with contextlib.suppress(*_NEAR_FAILED):
                await self._near.has_many([digest], renew=True)

    async def _fetched(self, digest: Digest) -> bytes | None:
        """The blob, if it is small; None for a larger one, which is near now if it could be kept."""
        if digest in self._too_large:
            return None
        flight = self._flights.get(digest)
        if flight is None:
            flight = asyncio.ensure_future(self._fetch(digest))
            self._flights[digest] = flight
            flight.add_done_callback(lambda ended: self._landed(digest, ended))
        try:
            # Who stops waiting does not stop the others; `close` ends what is left.
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            if flight.cancelled():
                raise StoreClosed from None
            raise

    def _landed(self, digest: Digest, flight: asyncio.Task[bytes | None]) -> None:
        del self._flights[digest]
        if not flight.cancelled():
            flight.exception()  # seen: perhaps nobody waits any more

    async def _fetch(self, digest: Digest) -> bytes | None:
        held: list[bytes] = []
        held_bytes = 0
        async with contextlib.aclosing(_ending(self._far.stream(digest))) as parts:
            async for part in parts:
                held.append(part)
                held_bytes += len(part)
                if held_bytes > _HELD_BYTES:
                    await self._keep_large(digest, held, parts)
                    return None
        whole = b"".join(held)
        await self._keep(digest, whole)
        return whole

    async def _keep(self, digest: Digest, data: bytes) -> None:
        """Keeps a small blob near, if the disk and the budget allow it."""
        if digest in self._kept:
            return
        self._coming_bytes += len(data)
        try:
            await self._make_room(len(data))
            await self._near.put(data, announced=digest, forced=False)
        except (_NoRoomError, *_NEAR_FAILED) as error:
            await self._shed(error)
            return
        finally:
            self._coming_bytes -= len(data)
        self._enter(digest, len(data), self._clock())

    async def _keep_large(self, digest: Digest, held: list[bytes], rest: AsyncIterator[bytes]) -> None:
        """The same for a blob whose first parts are `held`. What `far` raises meanwhile is raised."""
        far_failed: list[Exception] = []
        size = 0

        async def coming() -> AsyncIterator[bytes]:
            nonlocal size
            while held:
                size += len(held[0])
                self._coming_bytes += len(held[0])
                await self._make_room(size)
                yield held.pop(0)
                if not held:
                    try:
                        held.append(await anext(rest))
                    except StopAsyncIteration:
                        return
                    except Exception as error:
                        far_failed.append(error)
                        raise

        try:
            await self._near.put(coming(), announced=digest, forced=False)
        except _NoRoomError:
            if len(self._too_large) == _TOO_LARGE_MOST:
                self._too_large.clear()
            self._too_large.add(digest)
        except _NEAR_FAILED as error:
            if far_failed:
                raise
            await self._shed(error)
        else:
            self._enter(digest, size, self._clock())
        finally:
            self._coming_bytes -= size

    async def _make_room(self, size: int) -> None:
        """Makes room for all that is coming, of which one blob has this size so far. Raises _NoRoomError."""
        if size > self._budget // _SHARE:
            raise _NoRoomError
        async with self._room:
            if self._kept_bytes + self._coming_bytes <= self._budget:
                return
            going = room_for(
                self._coming_bytes,
                self._copies(),
                in_use=self._readers.keys(),
                budget_bytes=self._budget,
            )
            if going is None:
                raise _NoRoomError
            await self._drop([Digest(key) for key in going])

    async def _shed(self, why: Exception) -> None:
        """Where the disk is full before the budget is, a tenth of what is near goes: else nothing new came near."""
        if isinstance(why, DiskFull):
            async with self._room:
                less_bytes = self._kept_bytes - self._kept_bytes // 10
                going = evicted(self._copies(), in_use=self._readers.keys(), budget_bytes=less_bytes)
                with contextlib.suppress(*_NEAR_FAILED):
                    await self._drop([Digest(key) for key in going])

    def _copies(self) -> Iterator[Copy]:
        for digest, kept in self._kept.items():
            yield Copy(key=digest, size=kept.size, used_s=kept.used_s)

    async def _drop(self, digests: Collection[Digest]) -> None:
        if digests:
            await self._near.delete(digests)
        for digest in digests:
            self._leave(digest)

    def _enter(self, digest: Digest, size: int, used_s: float) -> None:
        self._leave(digest)
        self._kept_bytes += size
        self._kept[digest] = _Kept(size=size, used_s=used_s, written_s=used_s)

    def _leave(self, digest: Digest) -> None:
        kept = self._kept.pop(digest, None)
        self._kept_bytes -= kept.size if kept else 0


async def _ending(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same parts; where nobody takes the rest, their source hears of it."""
    try:
        async for part in parts:
            yield part
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()
