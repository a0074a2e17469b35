"""Tree renderer: a tree of source files copied out of its blobs, open to whoever is given the directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.threads import on_disk
from squall.blobs.tree import Entry, File, Tree, decode_tree
from squall.blobs.tree_writer import TreeWriter
from squall.model.errors import BlobCorrupt

_BATCH_FILES: Final = 64
_BATCH_BYTES: Final = 8 << 20


class TreeRenderer:
    """A Renderer of trees (`squall.blobs.tree`).

    Directories and files can be written by everybody (0777, and 0666 with the x bit where it was): the root of
    any container must be able to copy them up, and nobody else reaches a directory below the state directory.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def render(self, manifest: Digest, into: Path) -> None:
        """As Renderer says."""
        tree = decode_tree(await self._blobs.get(manifest))
        writer = TreeWriter(into)
        threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render")
        try:
            await on_disk(threads, into, writer.open)
            async for entries, contents in self._filled(tree):
                await on_disk(threads, into, partial(writer.add, entries, contents))
            for large in _large(tree):
                await on_disk(threads, into, partial(writer.begin, large))
                size = 0
                async for part in self._blobs.stream(large.digest):
                    size += len(part)
                    await on_disk(threads, into, partial(writer.write, part))
                _expect(large, size)
                await on_disk(threads, into, partial(writer.finish, large))
        finally:
            threads.shutdown(wait=True)
            writer.close()

    async def _filled(self, tree: Tree) -> AsyncIterator[tuple[list[Entry], dict[str, bytes]]]:
        """All entries but the large files, in runs small enough to hold, with the files' bytes."""
        for entries in _batches(tree):
            files = [entry for entry in entries if isinstance(entry, File)]
            found = await self._blobs.get_many({entry.digest for entry in files})
            for entry in files:
                _expect(entry, len(found[entry.digest]))
            yield entries, {entry.path: found[entry.digest] for entry in files}


def _expect(entry: File, size: int) -> None:
    if size != entry.size:
        raise BlobCorrupt(
            f"{entry.path!r} is said to have {entry.size} bytes, and its blob has {size}", digest=entry.digest
        )


def _large(tree: Tree) -> Iterator[File]:
    for entry in tree.entries:
        if isinstance(entry, File) and entry.size > _BATCH_BYTES:
            yield entry


def _batches(tree: Tree) -> Iterator[list[Entry]]:
    entries: list[Entry] = []
    held = 0
    for entry in tree.entries:
        size = entry.size if isinstance(entry, File) else 0
        if size > _BATCH_BYTES:
            continue
        if entries and (held + size > _BATCH_BYTES or len(entries) >= _BATCH_FILES):
            yield entries
            entries, held = [], 0
        entries.append(entry)
        held += size
    if entries:
        yield entries
