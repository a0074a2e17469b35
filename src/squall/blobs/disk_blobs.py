"""Disk blobs: a blob store in a directory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Iterator,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from squall import faults
from squall.blobs.blob_file import Seen, fill, force, look, open_blob, read_range, settle, write_all
from squall.blobs.blob_store import PART_BYTES, BlobInfo, check_range
from squall.blobs.digest import Bytes, Digest, Digester, agree, digest_of, is_digest, parse_digest
from squall.blobs.threads import on_disk
from squall.model.errors import BlobCorrupt, BlobMissing, StoreClosed

P = ParamSpec("P")
T = TypeVar("T")

_INCOMING: Final = "incoming"
_DAMAGED: Final = "damaged"
_LOCK: Final = "lock"
_ABANDONED_S: Final = 86_400.0  # nobody still writes a file that is a day old
_THREADS: Final = 4

_WRITTEN = faults.declare("blobs.written", "the bytes are in a temporary file, not yet forced to disk")
_FORCED = faults.declare("blobs.forced", "the temporary file is on disk, and has not its name yet")
_NAMED = faults.declare("blobs.named", "the blob has its name; the directory is not forced to disk")
_LEAVING = faults.declare("blobs.leaving", "an old blob was found unrenewed, and still has its name")


class DiskBlobs:
    """A BlobStore below `root`: two digits of the digest name a directory, the rest the file in it.

    A blob is written beside, forced to disk and then renamed, so a name stands for whole bytes, whenever a process
    dies. Bytes are verified at the first use by this store object, and again when the file is another one. Several
    processes may use one directory: whoever renews a blob or gives it its name shares a lock, and whoever takes it away
    because of its age or its damage has it alone. Made by `open`; clock: seconds since 1970.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock
        self._seen: dict[Digest, Seen] = {}
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="blobs")
        self._forced_shelves: set[Path] = set()
        self._closed = False

    @classmethod
    async def open(cls, root: Path, clock: Callable[[], float] = time.time) -> DiskBlobs:
        """The store in this directory, which is made; what writers long dead left behind goes.

        Raises StateDirectoryReadOnly, StateDirectoryError.
        """
        store = cls(root, clock)
        try:
            await store._away(store._prepare)
        except BaseException:
            await store.close()
            raise
        return store

    async def put(
        self,
        data: Bytes | AsyncIterable[Bytes],
        *,
        announced: Digest | None = None,
        forced: bool = True,
    ) -> Digest:
        incoming = Incoming(self._root / _INCOMING / secrets.token_hex(16), forced=forced)
        if isinstance(data, bytes | bytearray | memoryview):
            return await self._away(self._put_whole, incoming, data, announced)
        try:
            await self._away(incoming.open)
            digester = Digester()
            async for parts in _gathered(data):
                await self._away(_fill_all, incoming.fd, digester, parts)
            return await self._away(self._keep, incoming, digester.digest(), announced)
        finally:
            incoming.discard()

    async def get(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> bytes:
        check_range(start, stop)
        return await self._away(self._read, digest, start, stop)

    async def get_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        return await self._away(lambda: {digest: self._read(digest, 0, None) for digest in digests})

    async def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        async with contextlib.aclosing(self.stream_open(await self.open_blob(digest))) as parts:
            async for part in parts:
                yield part

    async def stream_open(self, fd: int) -> AsyncGenerator[bytes, None]:
        """The parts of a blob that open_blob opened; closes the descriptor."""
        try:
            start = 0
            while part := await self._away(os.pread, fd, PART_BYTES, start):
                start += len(part)
                yield part
        finally:
            os.close(fd)

    async def open_blob(self, digest: Digest) -> int:
        """A descriptor for reading the verified blob; the caller closes it. It stays good if the blob is deleted."""
        opened: list[int] = []
        try:
            await self._away(lambda: opened.append(self._open_verified(digest)))
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        return opened[0]

    async def has_many(self, digests: Collection[Digest], *, renew: bool = False) -> frozenset[Digest]:
        return await self._away(self._has_many, frozenset(digests), renew=renew)

    async def force(self, digests: Collection[Digest]) -> None:
        # Several at a time, as one commit of a journal is for all that wait for it.
        ordered = sorted(digests)
        shares = [frozenset(ordered[first::_THREADS]) for first in range(min(_THREADS, len(ordered)))]
        await asyncio.gather(*(self._away(self._force, share) for share in shares))

    async def delete(self, digests: Collection[Digest]) -> int:
        return await self._away(self._delete, frozenset(digests))

    async def delete_old(self, digests: Collection[Digest], *, before_s: float) -> tuple[BlobInfo, ...]:
        return await self._away(self._delete_old, frozenset(digests), before_s)

    async def heads(self, digests: Collection[Digest], size: int) -> dict[Digest, bytes]:
        return await self._away(self._heads, frozenset(digests), size)

    async def check(self, digest: Digest) -> int:
        return await self._away(self._check, digest)

    async def blobs(self) -> AsyncIterator[BlobInfo]:
        for shelf in await self._away(self._shelves):
            for info in await self._away(self._list_shelf, shelf):
                yield info

    async def close(self) -> None:
        self._closed = True
        # Not waited for: what a cancelled caller left running ends by itself, and a blob is whole or not there.
        self._threads.shutdown(wait=False)

    async def _away(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The one place from which this store leaves for a thread."""
        if self._closed:
            raise StoreClosed
        return await on_disk(self._threads, self._root, lambda: work(*args, **kwargs))

    # Everything below runs in a thread.

    def _prepare(self) -> None:
        for directory in (self._root, self._root / _INCOMING, self._root / _DAMAGED):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(self._open_lock())  # there from now on, also when the disk is full
        with os.scandir(self._root / _INCOMING) as left:
            for entry in left:
                # Another process may give it its name at this moment.
                with contextlib.suppress(FileNotFoundError):
                    if self._clock() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
                        os.unlink(entry.path)

    def _path(self, digest: Digest) -> Path:
        parse_digest(digest)
        return self._root / digest[:2] / digest[2:]

    def _put_whole(self, incoming: Incoming, data: Bytes, announced: Digest | None) -> Digest:
        digest = digest_of(data)
        agree(digest, announced)
        if self._renewed(digest):
            return digest
        try:
            incoming.open()
            write_all(incoming.fd, data)
            return self._keep(incoming, digest, announced)
        finally:
            incoming.discard()

    def _keep(self, incoming: Incoming, digest: Digest, announced: Digest | None) -> Digest:
        """Gives the whole incoming file its name. One that is there already and not known to be good is replaced."""
        agree(digest, announced)
        if self._renewed(digest):
            return digest
        faults.point(_WRITTEN)
        os.fchmod(incoming.fd, 0o400)
        os.utime(incoming.fd, (self._clock(), self._clock()))
        if incoming.forced:
            os.fsync(incoming.fd)
            faults.point(_FORCED)
        seen = look(incoming.fd)
        path = self._path(digest)
        with self._lock(fcntl.LOCK_SH):
            settle(incoming.path, path)
        faults.point(_NAMED)
        incoming.settled = True
        if incoming.forced:
            self._force_names({path.parent})
        self._seen[digest] = seen
        return digest

    def _renewed(self, digest: Digest) -> bool:
        """Whether this very blob is here, known to be good; it then counts as stored now."""
        if digest not in self._seen:
            return False
        with self._lock(fcntl.LOCK_SH):
            return self._renewed_here(digest)

    def _renewed_here(self, digest: Digest) -> bool:
        """The same, under the lock."""
        known = self._seen.get(digest)
        if known is None:
            return False
        try:
            fd = open_blob(self._path(digest))
        except FileNotFoundError:
            return False
        try:
            if look(fd) != known:
                return False
            os.utime(fd, (self._clock(), self._clock()))
            self._seen[digest] = look(fd)
        finally:
            os.close(fd)
        return True

    def _open_verified(self, digest: Digest) -> int:
        path = self._path(digest)
        try:
            fd = open_blob(path)
        except FileNotFoundError:
            raise BlobMissing(f"there is no blob {digest}", digest=digest) from None
        try:
            seen = look(fd)
            if self._seen.get(digest) != seen:
                self._verify(digest, fd)
                self._seen[digest] = seen
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _put_aside(self, digest: Digest, fd: int, *, size: int) -> BlobCorrupt:
        """Takes the damaged file away that is open here, and never one that has come into its place meanwhile."""
        path, kept = self._path(digest), self._root / _DAMAGED / digest
        self._seen.pop(digest, None)
        with self._lock(fcntl.LOCK_EX), contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(path), os.fstat(fd)):
                os.replace(path, kept)
        return BlobCorrupt(
            f"the {size} bytes kept under the digest {digest} are not those that it names; they are in {kept} now",
            digest=digest,
            path=str(kept),
        )

    def _read(self, digest: Digest, start: int, stop: int | None) -> bytes:
        fd = self._open_verified(digest)
        try:
            return read_range(fd, start, stop)
        finally:
            os.close(fd)

    def _has_many(self, digests: frozenset[Digest], *, renew: bool) -> frozenset[Digest]:
        if not renew:
            return frozenset(digest for digest in digests if self._path(digest).exists())
        with self._lock(fcntl.LOCK_SH):
            return frozenset(
                digest for digest in digests if self._renewed_here(digest) or self._touched(digest)
            )

    def _touched(self, digest: Digest) -> bool:
        """Whether a blob is here, good or not; it then counts as stored now."""
        try:
            os.utime(self._path(digest), (self._clock(), self._clock()))
        except FileNotFoundError:
            return False
        return True

    def _force(self, digests: frozenset[Digest]) -> None:
        for digest in digests:
            fd = self._open_verified(digest)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        self._force_names({self._path(digest).parent for digest in digests})

    def _force_names(self, shelves: set[Path]) -> None:
        for shelf in shelves:
            force(shelf)
        if not shelves <= self._forced_shelves:
            force(self._root)
            self._forced_shelves |= shelves

    def _delete(self, digests: frozenset[Digest]) -> int:
        gone = 0
        for digest in digests:
            try:
                os.unlink(self._path(digest))
                gone += 1
            except FileNotFoundError:
                pass
            self._seen.pop(digest, None)
        return gone

    def _delete_old(self, digests: frozenset[Digest], before_s: float) -> tuple[BlobInfo, ...]:
        gone: list[BlobInfo] = []
        with self._lock(fcntl.LOCK_EX):
            for digest in digests:
                path = self._path(digest)
                with contextlib.suppress(FileNotFoundError):
                    found = os.lstat(path)
                    if found.st_mtime < before_s:
                        faults.point(_LEAVING)
                        os.unlink(path)
                        gone.append(BlobInfo(digest=digest, size=found.st_size, stored_s=found.st_mtime))
                        self._seen.pop(digest, None)
        return tuple(gone)

    def _heads(self, digests: frozenset[Digest], size: int) -> dict[Digest, bytes]:
        heads: dict[Digest, bytes] = {}
        for digest in digests:
            with contextlib.suppress(FileNotFoundError):
                fd = open_blob(self._path(digest))
                try:
                    heads[digest] = os.pread(fd, size, 0)
                finally:
                    os.close(fd)
        return heads

    def _check(self, digest: Digest) -> int:
        try:
            fd = open_blob(self._path(digest))
        except FileNotFoundError:
            raise BlobMissing(f"there is no blob {digest}", digest=digest) from None
        try:
            # What lies in memory may be better than what lies on the disk, and others want the memory.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            size = self._verify(digest, fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
        return size

    def _verify(self, digest: Digest, fd: int) -> int:
        """The size of a blob, all of which was read. Raises BlobCorrupt, and has put it aside then."""
        digester = Digester()
        while part := os.pread(fd, PART_BYTES, digester.size):
            digester.update(part)
        if digester.digest() != digest:
            raise self._put_aside(digest, fd, size=digester.size)
        return digester.size

    @contextlib.contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """The lock of the directory, shared or alone, among all processes and threads; it ends with its holder."""
        fd = self._open_lock()
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)

    def _open_lock(self) -> int:
        return os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _shelves(self) -> list[str]:
        with os.scandir(self._root) as entries:
            return sorted(entry.name for entry in entries if len(entry.name) == 2)

    def _list_shelf(self, shelf: str) -> list[BlobInfo]:
        found: list[BlobInfo] = []
        with os.scandir(self._root / shelf) as entries:
            for entry in entries:
                digest = shelf + entry.name
                if not is_digest(digest):
                    continue
                try:
                    kept = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                found.append(BlobInfo(digest=Digest(digest), size=kept.st_size, stored_s=kept.st_mtime))
        return found


def _fill_all(fd: int, digester: Digester, parts: Sequence[Bytes]) -> None:
    for part in parts:
        fill(fd, digester, part)


async def _gathered(data: AsyncIterable[Bytes]) -> AsyncIterator[list[Bytes]]:
    """The same parts, several small ones at once: each way to a thread takes as long as writing a hundred KiB."""
    parts: list[Bytes] = []
    held = 0
    async for part in data:
        parts.append(part)
        held += memoryview(part).nbytes
        # Only bytes stay what they are until they are written.
        if held >= PART_BYTES or not isinstance(part, bytes):
            yield parts
            parts, held = [], 0
    if parts:
        yield parts


class Incoming:
    """A blob on its way in: a temporary file that goes unless it was settled."""

    def __init__(self, path: Path, *, forced: bool) -> None:
        self.path = path
        self.forced = forced
        self.settled = False
        self.fd = -1

    def open(self) -> None:
        """Makes the file."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self.fd = os.open(self.path, flags, 0o600)

    def discard(self) -> None:
        """Closes it, and removes it where it never got its name."""
        if self.fd < 0:
            return
        os.close(self.fd)
        if not self.settled:
            self.path.unlink(missing_ok=True)
