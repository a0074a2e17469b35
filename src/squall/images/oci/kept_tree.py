"""Kept tree: paths and the bytes of files, as they come, into chunks and one manifest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Bytes, Digest
from squall.blobs.manifest import Attributes, Entry, File
from squall.blobs.manifest_bytes import Writer
from squall.blobs.threads import in_thread
from squall.images.oci.kept_packing import KeptPacking
from squall.images.oci.layer_names import Names
from squall.images.oci.layer_tree import LayerTree, Lower, nobody, nothing_below
from squall.images.oci.limits import LIMITS, Limits
from squall.model.errors import LayerInvalid, TreeInvalid

T = TypeVar("T")

_LINES_BYTES: Final = 512 << 10  # of a manifest, written at once


class KeptTree:
    """Takes paths in any order, the bytes of files as they come, and keeps them; one thread at a time.

    tree: where all but files are added. lower: what the layers below show, as for LayerTree. entries: paths of the manifest;
    files_bytes: of all its files; both once it is kept. Raises LayerInvalid, LayerTooLarge, and what the store raises. Memory
    stays below some 30 MiB, beside the paths (limits.held_bytes at most).
    """

    def __init__(self, blobs: BlobStore, limits: Limits = LIMITS, lower: Lower = nothing_below) -> None:
        self.tree = LayerTree(limits, lower)
        self.entries = 0
        self.files_bytes = 0
        self._blobs = blobs
        self._packing = KeptPacking(blobs)
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tree")

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
        while await self._away(lambda: any(self._packing.is_full for _ in steps)):
            await self._packing.keep()

    async def kept(self, replaced: Callable[[str], None] = nobody) -> Digest:
        """The digest of the manifest, once it and all chunks are kept. Nothing is added any more. replaced: as for LayerTree."""
        await self._packing.end()
        written = self._written(replaced)
        try:
            return await self._blobs.put(written)
        finally:
            await written.aclose()

    async def taken(self) -> tuple[Entry, ...]:
        """The same without a manifest: all entries, once all chunks are kept. Nothing is added any more."""
        await self._packing.end()
        return await self._away(lambda: tuple(self.tree.entries(self._packing.digests)))

    async def close(self) -> None:
        """Nothing is kept any more, and nothing is left running."""
        await self._packing.close()
        self._threads.shutdown(wait=False)

    async def _written(self, replaced: Callable[[str], None]) -> AsyncGenerator[bytes, None]:
        """The bytes of the manifest."""
        writer = Writer()
        entries = self.tree.entries(self._packing.digests, replaced)
        yield writer.head
        while lines := await self._away(lambda: self._lines(writer, entries)):
            yield lines
        writer.end()

    def _lines(self, writer: Writer, entries: Iterator[Entry]) -> bytes:
        lines: list[bytes] = []
        held = 0
        try:
            for entry in entries:
                lines.append(writer.line(entry))
                self.entries += 1
                self.files_bytes += entry.size if isinstance(entry, File) else 0
                held += len(lines[-1])
                if held >= _LINES_BYTES:
                    break
        except TreeInvalid as error:
            raise LayerInvalid(f"the layer cannot be kept: {error.message}", entry=error.path) from error
        return b"".join(lines)

    async def _away(self, work: Callable[[], T]) -> T:
        """The one place from which this leaves for a thread."""
        return await in_thread(asyncio.get_running_loop().run_in_executor(self._threads, work))
