"""Kept root: files and directories of a root on their way into chunks and one manifest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Bytes, Digest, digest_of
from squall.blobs.kept_chunks import keep_chunks
from squall.blobs.manifest import Attributes, Entry, File
from squall.blobs.manifest_bytes import Writer
from squall.blobs.threads import in_thread
from squall.images.oci.layer_names import Names
from squall.images.oci.layer_tree import DIGEST_BYTES, LayerTree
from squall.images.oci.limits import LIMITS, Limits
from squall.images.oci.packing import Packing

T = TypeVar("T")

_KEPT_AT_BYTES: Final = 8 << 20  # chunks are put into the store when there are so many bytes of them
_LINES_BYTES: Final = 512 << 10  # of a manifest, written at once


class KeptRoot:
    """Takes a root's paths in any order, the bytes of its files as they come, and keeps them.

    tree: where directories and links are added. Raises LayerInvalid, LayerTooLarge, TreeInvalid, and what the store raises.
    Memory stays below some 30 MiB, beside the paths (limits.held_bytes at most).
    """

    def __init__(self, blobs: BlobStore, limits: Limits = LIMITS) -> None:
        self.tree = LayerTree(limits)
        self.entries = 0
        self.files_bytes = 0
        self._blobs = blobs
        self._packing = Packing()
        self._names = bytearray()
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="root")

    def begin(self, names: Names, attributes: Attributes, size: int) -> None:
        """The next file; exactly `size` bytes are added then."""
        path = b"/".join(names).decode("utf-8", "surrogateescape")
        self.tree.add_file(names, attributes, self._packing.begin(path, size))

    def add(self, data: Bytes) -> None:
        """The next bytes of the file that was begun."""
        self._packing.add(data)

    def file(self, path: str, attributes: Attributes, data: bytes) -> None:
        """A whole file, in place of one that may be there."""
        self.begin(tuple(path.encode("utf-8", "surrogateescape").split(b"/")), attributes, len(data))
        self.add(data)

    async def through(self, steps: Iterator[None]) -> None:
        """Takes all steps in the thread, and puts chunks into the store between them."""
        while await self._away(lambda: any(self._packing.held >= _KEPT_AT_BYTES for _ in steps)):
            await self._keep()

    async def kept(self) -> Digest:
        """The digest of the manifest, once it and all chunks are kept. Nothing is added any more."""
        self._packing.end()
        await self._keep()
        written = self._written()
        try:
            return await self._blobs.put(written)
        finally:
            await written.aclose()

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def _keep(self) -> None:
        packing = self._packing
        chunks, packing.chunks, packing.held = packing.chunks, [], 0
        if not chunks:
            return
        digests = await self._away(lambda: [digest_of(data) for _, data in chunks])
        wanted = {digest: data for digest, (_, data) in zip(digests, chunks, strict=True)}
        await keep_chunks(self._blobs, wanted)
        for digest, (number, _) in zip(digests, chunks, strict=True):
            end = (number + 1) * DIGEST_BYTES
            self._names.extend(bytes(max(0, end - len(self._names))))
            self._names[end - DIGEST_BYTES : end] = bytes.fromhex(digest)

    async def _written(self) -> AsyncGenerator[bytes, None]:
        writer = Writer()
        entries = self.tree.entries(self._names)
        yield writer.head
        while lines := await self._away(lambda: self._lines(writer, entries)):
            yield lines
        writer.end()

    def _lines(self, writer: Writer, entries: Iterator[Entry]) -> bytes:
        lines: list[bytes] = []
        held = 0
        for entry in entries:
            lines.append(writer.line(entry))
            self.entries += 1
            self.files_bytes += entry.size if isinstance(entry, File) else 0
            held += len(lines[-1])
            if held >= _LINES_BYTES:
                break
        return b"".join(lines)

    async def _away(self, work: Callable[[], T]) -> T:
        """The one place from which this leaves for a thread."""
        return await in_thread(asyncio.get_running_loop().run_in_executor(self._threads, work))
