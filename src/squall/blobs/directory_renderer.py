"""Directory renderer: a manifest copied out of its chunks, on any file system."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest, digest_of
from squall.blobs.directory_writer import DirectoryWriter
from squall.blobs.kept_chunks import ChunkReader
from squall.blobs.manifest import Entry, File
from squall.blobs.manifest_bytes import Reader
from squall.blobs.overlay_notes import Notes
from squall.blobs.threads import on_disk

_STEPS_BYTES: Final = 8 << 20
_ZEROS: Final = digest_of(bytes(CHUNK_BYTES))

Step = Callable[[], None]


class DirectoryRenderer:
    """A Renderer that copies, a file at a time.

    notes: the directory is a layer for an overlay that looks for its notes there; None: it is a directory like any
    other, in which whiteouts have nothing to hide. owners: owners and privileged attributes are set, which needs root
    and fails without; otherwise all belongs to this user, files without set-user-id and set-group-id bits where
    somebody else was the owner. None: as root only. Nothing is forced to disk: it can be made again.
    """

    def __init__(self, blobs: BlobStore, *, notes: Notes | None = None, owners: bool | None = None) -> None:
        self._blobs = blobs
        self._notes = notes
        self._owners = os.geteuid() == 0 if owners is None else owners

    async def render(self, manifest: Digest, into: Path) -> None:
        """As Renderer says; memory stays below some 40 MiB."""
        writer = DirectoryWriter(into, notes=self._notes, owners=self._owners)
        threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render")
        chunks = ChunkReader(self._blobs)
        reader = Reader()
        try:
            await on_disk(threads, into, writer.open)
            async for part in self._blobs.stream(manifest):
                entries = await on_disk(threads, into, partial(reader.feed, part))
                async for steps in _steps(writer, entries, chunks):
                    await on_disk(threads, into, partial(_carry_out, steps))
            reader.end()
            await on_disk(threads, into, writer.end)
        finally:
            writer.close()
            threads.shutdown(wait=False)


async def _steps(
    writer: DirectoryWriter, entries: Sequence[Entry], chunks: ChunkReader
) -> AsyncIterator[list[Step]]:
    """All that is to be done for these, in runs small enough to hold."""
    steps: list[Step] = []
    parts = [part for entry in entries if isinstance(entry, File) for part in entry.parts]
    taken = 0
    for entry in entries:
        if not isinstance(entry, File) or not entry.parts:
            steps.append(partial(writer.add, entry))
            continue
        # Nearly all files have one part, and then they are one step.
        alone = len(entry.parts) == 1 and entry.parts[0].chunk != _ZEROS
        if not alone:
            steps.append(partial(writer.begin, entry))
        for part in entry.parts:
            taken += 1
            if part.chunk == _ZEROS:
                steps.append(partial(writer.skip, part.length))
                continue
            ready = chunks.has(part)
            data = chunks.at_hand(part) if ready else await chunks.part(part, islice(parts, taken, None))
            steps.append(partial(writer.file, entry, data) if alone else partial(writer.write, data))
            if chunks.fetched >= _STEPS_BYTES:
                yield steps
                steps, chunks.fetched = [], 0
        if not alone:
            steps.append(partial(writer.finish, entry))
    yield steps


def _carry_out(steps: Sequence[Step]) -> None:
    for step in steps:
        step()
