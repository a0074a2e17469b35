"""Kept values: inputs and outcomes of durable calls as the record has them, and back; large ones lie in the blob store."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.model.call import OutcomeKind
from squall.model.errors import InvalidError
from squall.server.input_blocks import Block
from squall.server.outcome_runs import OutcomeRun, code_of
from squall.server.sizes import inline
from squall.state import records

_PIECE = 4 * 2**20


class KeptValues:
    """Turns what travels into what is kept. blobs: where values go that travel as sealed memory."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def chunk(self, block: Block, fds: tuple[int, ...]) -> records.InputChunk:
        sizes = block.sizes
        blobs = {
            block.start + offset: await self._keep(fds[size["f"]])
            for offset, size in enumerate(sizes)
            if type(size) is dict
        }
        heads = tuple(map(json.dumps, sizes)) if any(type(size) is not int for size in sizes) else ()
        lengths = tuple(map(inline, sizes))
        return records.InputChunk(
            start=block.start, lengths=lengths, payload=bytes(block.payload), blobs=blobs, heads=heads
        )

    async def revived(self, chunk: records.InputChunk) -> tuple[list[Any], bytes, tuple[int, ...]]:
        """Inputs from their record, as the data path has them: what is a blob comes back as a sealed file."""
        if not chunk.heads:
            return list(chunk.lengths), bytes(chunk.payload), ()
        sizes: list[Any] = []
        fds: list[int] = []
        for offset, text in enumerate(chunk.heads):
            size = json.loads(text)
            if type(size) is dict:
                fds.append(await self.fetch(Digest(chunk.blobs[chunk.start + offset])))
                size["f"] = len(fds) - 1
            sizes.append(size)
        return sizes, bytes(chunk.payload), tuple(fds)

    async def outcomes(self, run: OutcomeRun) -> list[records.OutcomeRecord]:
        now_s = time.time()
        return [
            records.OutcomeRecord(
                index=one.part.start,
                attempt=one.part.attempt,
                kind=OutcomeKind(one.kinds[0] if one.kinds else 0),
                ended_s=now_s,
                head=json.dumps(one.sizes[0]),
                payload=bytes(one.payload),
                blob=await self._keep(one.fds[one.sizes[0]["f"]]) if type(one.sizes[0]) is dict else None,
                code=code_of(one),
            )
            for one in run.each()
        ]

    async def _keep(self, fd: int) -> str:
        return await self._blobs.put(pieces(fd))

    async def fetch(self, digest: Digest) -> int:
        """A sealed memory file with a blob's bytes."""
        fd = os.memfd_create("squall-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        async for piece in self._blobs.stream(digest):
            await asyncio.to_thread(_write_all, fd, piece)
        seal(fd)
        return fd


def seal(fd: int) -> None:
    """Makes a memory file one that nobody can change any more."""
    fcntl.fcntl(
        fd,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL,
    )


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


async def pieces(fd: int) -> AsyncIterator[bytes]:
    """The bytes of a file, a part at a time. Raises InvalidError for one that ends before its size."""
    size = os.fstat(fd).st_size
    at = 0
    while at < size:
        piece = await asyncio.to_thread(os.pread, fd, min(_PIECE, size - at), at)
        if not piece:
            raise InvalidError("a file ended before its announced size")
        at += len(piece)
        yield piece
