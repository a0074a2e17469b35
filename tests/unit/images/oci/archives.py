"""Archives: made by the standard library, and block by block where no program would make such a thing."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Iterable, Iterator

from squall.blobs.digest import Bytes
from squall.blobs.manifest import Entry, File, Manifest
from squall.blobs.manifest_bytes import decode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.oci.layer_in import NOTHING, Announced, LayerIn, layer_in
from squall.images.oci.layer_tree import Lower, nothing_below
from squall.images.oci.limits import LIMITS, Limits

END = bytes(1024)


def header(
    name: bytes, letter: bytes = b"0", *, size: int = 0, target: bytes = b"", mode: int = 0o644
) -> bytes:
    """A header in the oldest form that knows owners."""
    fields = [
        name.ljust(100, b"\0"),
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, 0),
        b" " * 8,
        letter,
        target.ljust(100, b"\0"),
        b"ustar\x0000",
    ]
    block = b"".join(fields).ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def entry(name: bytes, data: bytes = b"", letter: bytes = b"0", *, target: bytes = b"") -> bytes:
    """A header and the bytes behind it."""
    return header(name, letter, size=len(data), target=target) + data + bytes(-len(data) % 512)


def records(pairs: Iterable[tuple[bytes, bytes]], letter: bytes = b"x") -> bytes:
    """An extended header."""
    data = b""
    for key, value in pairs:
        rest = len(key) + len(value) + 3
        length = rest + len(str(rest))
        length = rest + len(str(length))
        data += b"%d %s=%s\n" % (length, key, value)
    return entry(b"PaxHeaders/x", data, letter)


def archive(
    members: Iterable[tuple[tarfile.TarInfo, bytes]], *, form: int = tarfile.PAX_FORMAT, ends: bool = True
) -> bytes:
    """What the standard library writes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form, errors="surrogateescape") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        written = made.getvalue()[: tar.offset]
    return written + (END if ends else b"")


def info(name: str, kind: bytes = tarfile.REGTYPE, *, mode: int = 0o644, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    found.mode = mode
    found.linkname = target
    return found


async def in_parts(data: Bytes, size: int = 60_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield bytes(data[at : at + size])


async def of_parts(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Kept:
    """A layer that was taken in, its manifest, and the store that it is in."""

    def __init__(self, layer: LayerIn, manifest: Manifest, blobs: MemoryBlobs) -> None:
        self.layer = layer
        self.manifest = manifest
        self.blobs = blobs
        self.entries: dict[str, Entry] = {entry.path: entry for entry in manifest.entries}

    def data(self, path: str) -> bytes:
        found = self.entries[path]
        assert isinstance(found, File)
        return asyncio.run(bytes_of(found, self.blobs))


async def bytes_of(file: File, blobs: MemoryBlobs) -> bytes:
    chunks = [(await blobs.get(part.chunk))[part.offset :][: part.length] for part in file.parts]
    return b"".join(chunks)


def taken(
    data: bytes,
    *,
    announced: Announced = NOTHING,
    lower: Lower = nothing_below,
    limits: Limits = LIMITS,
    blobs: MemoryBlobs | None = None,
) -> Kept:
    """What becomes of a layer of these bytes."""

    async def run() -> Kept:
        store = blobs or MemoryBlobs()
        layer = await layer_in(in_parts(data), store, announced=announced, lower=lower, limits=limits)
        return Kept(layer, decode(await store.get(layer.manifest)), store)

    return asyncio.run(run())
