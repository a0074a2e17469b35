"""Snapshot: a directory put into a blob store, its chunks first and then the manifest that names them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from squall.blobs.blob_store import BlobStore
from squall.blobs.chunks import CHUNK_BYTES, Cutter, Piece
from squall.blobs.digest import Digest, Hashed
from squall.blobs.kept_chunks import keep_chunks
from squall.blobs.manifest import Attributes, Entry, File, Part
from squall.blobs.manifest_bytes import Writer
from squall.blobs.threads import on_disk
from squall.blobs.walk import Again, Found, How, Read, Walk, Walking

T = TypeVar("T")

LIKE_ANY: Final = How()
_KEPT_AT_ONCE: Final = 2
"""Runs of chunks of some 8 MiB that are on their way to the store while the next is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A directory that was kept: the digest of its manifest, how many paths it has, and the bytes of its files.

    changed: paths that changed each time they were read, so that what was kept of them may never have been there.
    left_out: sockets.
    """

    manifest: Digest
    entries: int
    size: int
    changed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


async def snapshot(
    root: Path,
    blobs: BlobStore,
    *,
    how: How = LIKE_ANY,
    forced: bool = True,
    walk: Callable[[Path, How], Walking] = Walk,
) -> Snapshot:
    """What the directory `root` holds, once every blob of it is kept; those that are there already are renewed.

    Files that are written meanwhile are read again, and told if that does not help: a snapshot is of one instant only
    if nobody writes. Memory stays below some 40 MiB, beside the paths that have several names and the digests of all chunks. forced: as in
    BlobStore.put. walk: by whom it is looked at. Raises TreeInvalid for what no manifest keeps (a device, a file that this user may not read, a path
    too deep, notes of an overlay that lead elsewhere), and what the store raises.
    """
    taking = _Taking(root, blobs, walk(root, how), forced=forced)
    written = taking.written()
    try:
        manifest = await blobs.put(written, forced=forced)
    finally:
        await written.aclose()
        taking.close()
    return taking.taken(manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A file whose chunks have no names yet: for each, its number, and the piece in it."""

    path: str
    attributes: Attributes
    size: int
    places: tuple[tuple[int, Piece], ...]

    def named(self, names: Mapping[int, Digest]) -> File | None:
        """The file's entry, once all its chunks have names."""
        if not all(number in names for number, _ in self.places):
            return None
        parts = (
            Part(chunk=names[number], offset=piece.offset, length=piece.length)
            for number, piece in self.places
        )
        return File(path=self.path, attributes=self.attributes, size=self.size, parts=tuple(parts))


class _Gathering:
    """Makes chunks of what is found, and entries once the chunks have names, in the order of the paths."""

    def __init__(self) -> None:
        self.chunks: list[tuple[int, bytes]] = []
        self.names: dict[int, Digest] = {}
        self._cutter = Cutter()
        self._numbers = 0
        self._waiting: deque[Entry | _Waiting] = deque()
        # The file that is being read: its chunks, and what comes behind them.
        self._alone: list[int] = []
        self._tail = b""
        # The chunk that small files share: which one of the plan, its number here, and its bytes.
        self._planned = self._number = -1
        self._shared = bytearray()

    def add(self, found: Found) -> None:
        match found:
            case bytes() if len(found) == CHUNK_BYTES:
                self._alone.append(self._chunk(self._next(), found))
            case bytes():
                self._tail = found
            case Again():
                self._alone, self._tail = [], b""
            case Read():
                self._waiting.append(self._read(found))
            case _:
                self._waiting.append(found)

    def end(self) -> None:
        """Nothing more is found: the shared chunk is full."""
        if self._shared:
            self._chunk(self._number, bytes(self._shared))
            self._shared.clear()

    def ready(self) -> Iterator[Entry]:
        """The next entries, up to the first one whose chunks have no names."""
        while self._waiting:
            entry = self._waiting[0]
            if isinstance(entry, _Waiting):
                named = entry.named(self.names)
                if named is None:
                    return
                entry = named
            self._waiting.popleft()
            yield entry

    def _read(self, read: Read) -> _Waiting:
        pieces = self._cutter.cut(read.path, read.size)
        numbers, tail = self._alone, self._tail
        self._alone, self._tail = [], b""
        if tail and read.size < CHUNK_BYTES:
            numbers.append(self._share(pieces[0], tail))
        elif tail:
            numbers.append(self._chunk(self._next(), tail))
        places = tuple(zip(numbers, pieces, strict=True))
        return _Waiting(path=read.path, attributes=read.attributes, size=read.size, places=places)

    def _share(self, piece: Piece, data: bytes) -> int:
        if piece.chunk != self._planned:
            self.end()
            self._planned, self._number = piece.chunk, self._next()
        self._shared += data
        return self._number

    def _chunk(self, number: int, data: bytes) -> int:
        self.chunks.append((number, data))
        return number

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


class _Taking:
    """One snapshot while it is taken."""

    def __init__(self, root: Path, blobs: BlobStore, walk: Walking, *, forced: bool) -> None:
        self._root = root
        self._blobs = blobs
        self._forced = forced
        self._walk = walk
        self._gathering = _Gathering()
        self._writer = Writer()
        self._entries = 0
        self._size = 0
        self._keeping: deque[asyncio.Future[None]] = deque()
        # One reads, the others make digests.
        self._threads = ThreadPoolExecutor(max_workers=3, thread_name_prefix="snapshot")

    async def written(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the manifest; whatever they name is kept by then."""
        yield self._writer.head
        # What comes next is read while this is kept.
        coming = asyncio.ensure_future(self._away(self._walk.take))
        try:
            while found := await coming:
                coming = asyncio.ensure_future(self._away(self._walk.take))
                for one in found:
                    self._gathering.add(one)
                self._begin_to_keep()
                while len(self._keeping) > _KEPT_AT_ONCE:
                    await self._keeping.popleft()
                if lines := self._lines():
                    yield lines
            self._gathering.end()
            self._begin_to_keep()
            while self._keeping:
                await self._keeping.popleft()
        finally:
            for keeping in self._keeping:
                keeping.cancel()
            # Nobody closes the walk while a thread is in it.
            await asyncio.gather(coming, *self._keeping, return_exceptions=True)
        yield self._lines()
        self._writer.end()

    def taken(self, manifest: Digest) -> Snapshot:
        return Snapshot(
            manifest=manifest,
            entries=self._entries,
            size=self._size,
            changed=tuple(self._walk.changed),
            left_out=tuple(self._walk.left_out),
        )

    def close(self) -> None:
        self._walk.close()
        self._threads.shutdown(wait=False)

    def _lines(self) -> bytes:
        lines: list[bytes] = []
        for entry in self._gathering.ready():
            self._entries += 1
            self._size += entry.size if isinstance(entry, File) else 0
            lines.append(self._writer.line(entry))
        return b"".join(lines)

    def _begin_to_keep(self) -> None:
        """Has the chunks that were made so far kept, while more are read."""
        chunks, self._gathering.chunks = self._gathering.chunks, []
        if chunks:
            self._keeping.append(asyncio.ensure_future(self._keep(chunks)))

    async def _keep(self, chunks: list[tuple[int, bytes]]) -> None:
        """Keeps these chunks, and gives them their names."""
        hashed = await self._away(lambda: [(number, Hashed.of(data)) for number, data in chunks])
        wanted: dict[Digest, bytes] = {data.digest: data for _, data in hashed}
        await keep_chunks(self._blobs, wanted, forced=self._forced)
        self._gathering.names |= {number: data.digest for number, data in hashed}

    async def _away(self, work: Callable[[], T]) -> T:
        """The one place from which a snapshot leaves for a thread."""
        return await on_disk(self._threads, self._root, work)
