"""Files of a client's machine, and the manifest that stands for them, put into a store as a client does."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from squall.blobs.blob_store import BlobStore
from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import digest_of
from squall.blobs.local_files import LocalDirectory, LocalFile, LocalLink, local_manifest
from squall.blobs.manifest import Manifest
from squall.blobs.manifest_bytes import encode

NOTHING: Mapping[str, str] = {}


def chunks_of(data: bytes) -> list[bytes]:
    """The bytes of a file, cut as a client cuts them."""
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]


def local_file(path: str, data: bytes, *, executable: bool = False) -> LocalFile:
    """A file with these bytes."""
    chunks = tuple(map(digest_of, chunks_of(data)))
    return LocalFile(path=path, size=len(data), chunks=chunks, executable=executable)


def local_tree(
    files: Mapping[str, bytes],
    links: Mapping[str, str] = NOTHING,
    directories: Collection[str] = (),
    executables: Collection[str] = (),
) -> Manifest:
    """The manifest of files by their paths, links by theirs, and empty directories. executables: paths of files."""
    return local_manifest(
        [
            *(local_file(path, data, executable=path in executables) for path, data in files.items()),
            *(LocalLink(path=path, target=target) for path, target in links.items()),
            *(LocalDirectory(path=path) for path in directories),
        ]
    )


async def keep_tree(blobs: BlobStore, tree: Manifest, files: Mapping[str, bytes]) -> None:
    """Has the store keep a manifest, and the chunks of these files of it."""
    for data in files.values():
        for chunk in chunks_of(data):
            await blobs.put(chunk)
    await blobs.put(encode(tree))
