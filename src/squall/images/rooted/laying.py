"""Laying: a layer made of files that are in the store, with nothing run for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    File,
    Manifest,
    Symlink,
    key,
)
from squall.blobs.manifest_bytes import encode
from squall.blobs.snapshot import Snapshot
from squall.images.oci.kept_packing import KeptPacking
from squall.images.oci.layer_tree import Place, parts_at
from squall.model.errors import ImageBuildError

Below = Callable[[str], Entry | None]
"""What the layers below show at a path without a first slash, "" for the root; the last link is not followed."""

_LINKS_FOLLOWED: Final = 40  # as many as the kernel follows
_NEW_DIRECTORY: Final = Attributes(mode=0o755)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """A file whose bytes are at hand. Its attributes are the layer's."""

    path: str
    attributes: Attributes
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file whose bytes are one blob, however large. Its attributes are the layer's."""

    path: str
    attributes: Attributes
    size: int
    digest: Digest


Laid = Bytes | Blob | Entry
"""What is laid: paths as the image shows them, links on the way followed by `led`."""


def led(path: str, below: Below) -> str:
    """Where a path of an image leads, all links on the way followed, its last name too. Raises ImageBuildError for a circle.

    path: with or without a first slash. What is not there leads to itself.
    """
    left = _LINKS_FOLLOWED
    at: list[str] = []
    todo = [name for name in path.split("/") if name][::-1]
    while todo:
        name = todo.pop()
        if name == ".":
            continue
        if name == "..":
            at = at[:-1]
            continue
        found = below("/".join([*at, name]))
        if isinstance(found, Symlink):
            left -= 1
            if left < 0:
                raise ImageBuildError(
                    f"/{path.strip('/')} leads through more than {_LINKS_FOLLOWED} links in the image"
                )
            todo += [part for part in found.target.split("/") if part][::-1]
            at = [] if found.target.startswith("/") else at
        else:
            at.append(name)
    return "/".join(at)


async def lay(laid: Iterable[Laid], blobs: BlobStore, below: Below) -> Snapshot:
    """A layer with all of `laid` over what `below` shows; directories that are there keep their attributes.

    The chunks and the manifest are kept. Raises TreeInvalid, and what the store raises.
    """
    wanted = {one.path: one for one in laid}
    for path in [path for one in wanted.values() for path in _above(one.path)]:
        wanted.setdefault(path, _directory(path, below))
    wanted.setdefault(ROOT, _directory(ROOT, below))
    ordered = sorted(wanted.values(), key=lambda one: key(_shape(one)))
    packing = KeptPacking(blobs)
    places: dict[str, Place] = {}
    for one in ordered:
        if isinstance(one, Bytes | Blob):
            places[one.path] = packing.begin(one.path, one.size)
            async for part in _parts(one, blobs):
                packing.add(part)
                if packing.is_full:
                    await packing.keep()
    await packing.end()
    entries = tuple(
        _file(one, places[one.path], packing.digests) if isinstance(one, Bytes | Blob) else one
        for one in ordered
    )
    manifest = Manifest(entries)
    digest = await blobs.put(encode(manifest))
    return Snapshot(manifest=digest, entries=len(entries), size=manifest.size)


def _above(path: str) -> Sequence[str]:
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def _directory(path: str, below: Below) -> Directory:
    there = below(path)
    return Directory(
        path=path, attributes=there.attributes if isinstance(there, Directory) else _NEW_DIRECTORY
    )


def _shape(one: Laid) -> Entry:
    return File(path=one.path, attributes=one.attributes) if isinstance(one, Bytes | Blob) else one


async def _parts(one: Bytes | Blob, blobs: BlobStore) -> AsyncIterator[bytes]:
    if isinstance(one, Bytes):
        yield one.data
        return
    size = 0
    async for part in blobs.stream(one.digest):
        size += len(part)
        if size <= one.size:
            yield part
    if size != one.size:
        raise ImageBuildError(f"/{one.path} is said to have {one.size} bytes, and has {size}")


def _file(one: Bytes | Blob, place: Place, digests: bytearray) -> File:
    return File(
        path=one.path, attributes=one.attributes, size=one.size, parts=tuple(parts_at(place, digests))
    )
