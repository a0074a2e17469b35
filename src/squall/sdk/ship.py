"""Ship: bytes that the server does not have yet, sent under their digests."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping

from squall.blobs.digest import Digest, digest_of
from squall.blobs.tree import Entry, File, Link, Tree, encode_tree, tree_of
from squall.model.errors import SourceChanged
from squall.model.image import SOURCE_ROOT
from squall.sdk.client import Client
from squall.wire.codec import MAX_PAYLOAD

_AT_ONCE = 16
_INLINE = MAX_PAYLOAD // 4


def below_source_root(tree: Tree) -> Tree:
    """The same files where they show in a container: a source tree is a layer of the container's root."""
    top = SOURCE_ROOT.strip("/")
    return tree_of(_moved(entry, top) for entry in tree.entries)


async def ship_tree(client: Client, tree: Tree, files: Mapping[Digest, str]) -> Digest:
    """The digest of a tree that the server has, with all its files, when this returns.

    files: where each digest's bytes lie here. Raises SourceChanged when a file changes meanwhile.
    """
    encoded = encode_tree(tree)
    digest = digest_of(encoded)
    if not await missing(client, [digest]):
        return digest
    wanted = await missing(client, sorted(tree.digests))
    turns = asyncio.Semaphore(_AT_ONCE)

    async def send(one: Digest) -> None:
        async with turns:
            await ship_file(client, one, files[one])

    await asyncio.gather(*(send(one) for one in wanted))
    await ship_bytes(client, encoded)
    return digest


async def missing(client: Client, digests: list[Digest]) -> list[Digest]:
    """Those of the digests that the server does not have."""
    frame = await client.ask("blobs.missing", {}, json.dumps(digests).encode())
    return [Digest(text) for text in json.loads(bytes(frame.payload))]


async def ship_bytes(client: Client, data: bytes) -> Digest:
    """Sends bytes; their digest."""
    digest = digest_of(data)
    if len(data) <= _INLINE:
        await client.ask("blob.put", {"digest": digest}, data)
        return digest
    fd = os.memfd_create("squall-blob")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        await client.ask("blob.put", {"digest": digest}, fds=(fd,))
    finally:
        os.close(fd)
    return digest


async def ship_file(client: Client, digest: Digest, path: str) -> None:
    """Sends a file whose bytes have this digest, or had when it was read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size > _INLINE:
            await client.ask("blob.put", {"digest": digest}, fds=(fd,))
            return
        data = os.pread(fd, size, 0)
        if digest_of(data) != digest:
            raise SourceChanged(f"{path} changed while it was being sent", path=path)
        await client.ask("blob.put", {"digest": digest}, data)
    finally:
        os.close(fd)


def _moved(entry: Entry, top: str) -> Entry:
    path = f"{top}/{entry.path}"
    match entry:
        case File():
            return File(path=path, size=entry.size, digest=entry.digest, executable=entry.executable)
        case Link():
            return Link(path=path, target=entry.target)
        case _:
            return type(entry)(path=path)
