"""Ship: bytes that the server does not have yet, sent under their digests."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest, digest_of
from squall.blobs.manifest import Manifest
from squall.blobs.manifest_bytes import encode
from squall.model.errors import SourceChanged
from squall.sdk.client import Client
from squall.wire.codec import MAX_PAYLOAD

_AT_ONCE: Final = 16
_INLINE: Final = MAX_PAYLOAD // 4


class Place(NamedTuple):
    """Where the bytes of a chunk lie here: from `start` on in a file."""

    file: str
    start: int


@dataclass(frozen=True, slots=True)
class LocalTree:
    """Files of this machine as a manifest, and where the bytes of each of its chunks lie."""

    manifest: Manifest
    places: Mapping[Digest, Place]


async def ship_tree(client: Client, tree: LocalTree) -> Digest:
    """The digest of a manifest that the server has, with all its chunks, when this returns.

    Raises SourceChanged when a file changes meanwhile.
    """
    encoded = encode(tree.manifest)
    digest = digest_of(encoded)
    if not await missing(client, [digest]):
        return digest
    turns = asyncio.Semaphore(_AT_ONCE)

    async def send(chunk: Digest) -> None:
        async with turns:
            await client.ask_surely("blob.put", {"digest": chunk}, _read(chunk, tree.places[chunk]))

    await asyncio.gather(*map(send, await missing(client, sorted(tree.places))))
    await ship_bytes(client, encoded)
    return digest


async def missing(client: Client, digests: list[Digest]) -> list[Digest]:
    """Those of the digests that the server does not have."""
    frame = await client.ask_surely("blobs.missing", {}, json.dumps(digests).encode())
    return [Digest(text) for text in json.loads(bytes(frame.payload))]


async def ship_bytes(client: Client, data: bytes) -> Digest:
    """Sends bytes; their digest."""
    digest = digest_of(data)
    if len(data) <= _INLINE:
        await client.ask_surely("blob.put", {"digest": digest}, data)
        return digest
    fd = os.memfd_create("squall-blob")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        await client.ask_surely("blob.put", {"digest": digest}, fds=(fd,))
    finally:
        os.close(fd)
    return digest


def _read(chunk: Digest, place: Place) -> bytes:
    """The bytes of a chunk, which were seen there before."""
    fd = os.open(place.file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(fd, CHUNK_BYTES, place.start)
    finally:
        os.close(fd)
    if digest_of(data) != chunk:
        raise SourceChanged(f"{place.file} changed while it was being sent", path=place.file)
    return data
