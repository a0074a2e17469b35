"""Layer out: a manifest as the archive of a layer, the same bytes for the same manifest always."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, assert_never

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest, Digester
from squall.blobs.kept_chunks import ChunkReader
from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    Fifo,
    File,
    Hardlink,
    Inode,
    Symlink,
    Whiteout,
)
from squall.blobs.manifest_bytes import Reader
from squall.blobs.path_names import encoded
from squall.blobs.threads import in_thread
from squall.images.oci.compression import Compression
from squall.images.oci.layer_names import OPAQUE, WHITEOUT
from squall.images.oci.tar_member import Kind, Member, padding, shown
from squall.images.oci.tar_writer import END, head
from squall.model.errors import FeatureUnavailable, LayerInvalid, TreeInvalid

_PART_BYTES: Final = 1 << 20
_LEVEL: Final = 6
# Deflate, no name, no time, no machine: the same before every layer.
_GZIP_HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

_HIDING: Final = Attributes(mode=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A layer that was written. digest, size: of its bytes as they were given; diff_id: of the archive."""

    digest: Digest
    size: int
    diff_id: Digest
    unpacked_bytes: int


class LayerOut:
    """Writes the layer that the blob `manifest` says: its paths in their order, whiteouts and opaque directories too.

    Once `parts` has ended, `written` says what was given. Memory stays below some 40 MiB, beside what has several
    names. Packed with gzip, the bytes are the same on every machine that has the same zlib; unpacked, always.
    """

    def __init__(
        self, manifest: Digest, blobs: BlobStore, *, compression: Compression = Compression.GZIP
    ) -> None:
        if compression is Compression.ZSTD:
            raise FeatureUnavailable("layers are written plain or with gzip, which every program reads")
        self._manifest = manifest
        self._blobs = blobs
        self._gzip = compression is Compression.GZIP
        self._plain = Digester()
        self._given = Digester()
        self._over = False

    @property
    def written(self) -> Written:
        """What was given. Raises ValueError before all of it was."""
        if not self._over:
            raise ValueError("the layer is not written yet")
        return Written(
            digest=self._given.digest(),
            size=self._given.size,
            diff_id=self._plain.digest(),
            unpacked_bytes=self._plain.size,
        )

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the layer, once.

        Raises BlobMissing, BlobCorrupt, TreeInvalid; LayerInvalid for a path whose name would be read as a whiteout.
        """
        deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="layer")
        checksum = 0

        def packed(data: bytes) -> bytes:
            nonlocal checksum
            self._plain.update(data)
            if not self._gzip:
                return data
            checksum = zlib.crc32(data, checksum)
            return deflater.compress(data)

        def given(data: bytes) -> bytes:
            self._given.update(data)
            return data

        try:
            if self._gzip:
                yield given(_GZIP_HEAD)
            async for run in _runs(self._archive()):
                loop = asyncio.get_running_loop()
                if data := await in_thread(loop.run_in_executor(threads, packed, run)):
                    yield given(data)
            if self._gzip:
                yield given(deflater.flush() + struct.pack("<II", checksum, self._plain.size & 0xFFFF_FFFF))
            self._over = True
        finally:
            threads.shutdown(wait=False)

    async def _archive(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The plain archive, in parts of any size."""
        chunks = ChunkReader(self._blobs)
        several = {entry.first async for entry in self._entries() if isinstance(entry, Hardlink)}
        firsts: dict[str, Inode] = {}
        async for entry in self._entries():
            if isinstance(entry, Inode) and entry.path in several:
                firsts[entry.path] = entry
            for member in members_of(entry, firsts):
                yield head(member)
            if isinstance(entry, File):
                for part in entry.parts:
                    yield await chunks.part(part)
                yield bytes(padding(entry.size))
        yield END

    async def _entries(self) -> AsyncIterator[Entry]:
        reader = Reader()
        async for part in self._blobs.stream(self._manifest):
            for entry in reader.feed(part):
                yield entry
        reader.end()


def members_of(entry: Entry, firsts: dict[str, Inode]) -> tuple[Member, ...]:
    """What an archive has of an entry. firsts: what the hard links so far may lead to. Raises LayerInvalid, TreeInvalid."""
    name = encoded(entry.path)
    above, slash, last = name.rpartition(b"/")
    if last.startswith(WHITEOUT):
        raise LayerInvalid(
            f"{shown(name)} cannot be part of a layer for other programs: they read such names as whiteouts",
            remedy="rename the file",
            entry=shown(name),
        )
    match entry:
        case File():
            return (_member(Kind.FILE, name, entry.attributes, size=entry.size),)
        case Directory():
            written = _member(Kind.DIRECTORY, name if entry.path != ROOT else b".", entry.attributes)
            mark = name + (b"/" if name else b"") + OPAQUE
            return (written, _member(Kind.FILE, mark, _HIDING)) if entry.opaque else (written,)
        case Symlink():
            return (_member(Kind.SYMLINK, name, entry.attributes, target=encoded(entry.target)),)
        case Hardlink():
            first = firsts.get(entry.first)
            if first is None:
                raise TreeInvalid(
                    f"{entry.path!r} is another name of {entry.first!r}, which is none", path=entry.path
                )
            # Some programs give a file the attributes of the last of its names.
            return (_member(Kind.HARDLINK, name, first.attributes, target=encoded(entry.first)),)
        case Fifo():
            return (_member(Kind.FIFO, name, entry.attributes),)
        case Whiteout():
            return (_member(Kind.FILE, above + slash + WHITEOUT + last, _HIDING),)
        case _:
            assert_never(entry)


def _member(kind: Kind, name: bytes, kept: Attributes, *, size: int = 0, target: bytes = b"") -> Member:
    if any("=" in xattr for xattr, _ in kept.xattrs):
        raise LayerInvalid(
            f"{shown(name)} has an extended attribute with '=' in its name, which no archive can say",
            remedy="remove the attribute",
            entry=shown(name),
        )
    return Member(
        kind=kind,
        name=name,
        target=target,
        mode=kept.mode,
        uid=kept.uid,
        gid=kept.gid,
        mtime_ns=kept.mtime_ns,
        size=size,
        xattrs=tuple((encoded(xattr), value) for xattr, value in kept.xattrs),
    )


async def _runs(parts: AsyncGenerator[bytes | memoryview, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes in runs that are worth a thread."""
    held = bytearray()
    try:
        async for part in parts:
            held += part
            if len(held) >= _PART_BYTES:
                yield bytes(held)
                held = bytearray()
        if held:
            yield bytes(held)
    finally:
        await parts.aclose()
