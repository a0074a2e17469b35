"""Volume files: what is asked of the files of a volume's version, and done to them, without any of their bytes moving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from squall.blobs.blob_store import PART_BYTES, BlobStore
from squall.blobs.digest import Digest
from squall.blobs.edit import copied, moved, removed
from squall.blobs.lookup import at, inode_at, inside, place_of, resolve
from squall.blobs.manifest import Directory, Entry, Fifo, File, Inode, Manifest, Part, Symlink
from squall.model.errors import InvalidError, VolumePathInvalid, VolumePathTaken
from squall.model.volume import MOST_AT_ONCE, check_volume_id, inner_path
from squall.server.volumes import Change, Volumes

Head = dict[str, Any]

MOST_ENTRIES: Final = 1_000
MOST_BYTES: Final = 256 << 10
"""Of one answer: entries, and bytes of their paths before JSON makes more of them."""


async def entries(volumes: Volumes, head: Head, which: int | str | None) -> tuple[Head, bytes]:
    """What lies in a directory of a version, from the place `at` on; of another path, itself.

    The answer's head has the version, and in `next` the place of the next page, if there is one. Raises
    VolumePathNotFound, VolumePathInvalid.
    """
    version = await volumes.version(check_volume_id(head["volume"]), which)
    tree = await volumes.trees.get(Digest(version.manifest))
    found = resolve(tree, inner_path(head.get("path", "")))
    rows: list[Head] = []
    following: int | None = None
    size = 0
    if isinstance(found, Directory):
        place = place_of(tree, found.path)
        assert place is not None, "it has just been found there"
        lying = inside(tree, place, start=int(head.get("at", 0)), recursive=bool(head.get("recursive")))
        for now, entry in lying:
            if len(rows) == MOST_ENTRIES or size > MOST_BYTES:
                following = now
                break
            rows.append(_row(tree, entry))
            size += len(entry.path)
    else:
        rows.append(_row(tree, found))
    told: Head = {"version": version.number}
    if isinstance(found, Directory):
        told["directory"] = found.path
    if following is not None:
        told["next"] = following
    return told, json.dumps(rows).encode()


async def read(volumes: Volumes, blobs: BlobStore, head: Head, which: int | str | None) -> tuple[Head, bytes]:
    """The next bytes of a file of a version, from `start` on, at most PART_BYTES; the head has the version and the size.

    Raises VolumePathNotFound, VolumePathInvalid for what is no file.
    """
    version = await volumes.version(check_volume_id(head["volume"]), which)
    tree = await volumes.trees.get(Digest(version.manifest))
    path, start = inner_path(head["path"]), int(head.get("start", 0))
    found = inode_at(tree, resolve(tree, path))
    if not isinstance(found, File):
        raise VolumePathInvalid(
            f"{path or '/'!r} is {'a directory' if isinstance(found, Directory) else 'no file'}", path=path
        )
    parts = [
        await blobs.get(part.chunk, start=part.offset, stop=part.offset + part.length)
        for part in _cut(found.parts, start, start + PART_BYTES)
    ]
    return {"version": version.number, "size": found.size}, b"".join(parts)


async def check_free(volumes: Volumes, head: Head) -> None:
    """Raises VolumePathTaken where the newest version has something at one of these paths."""
    version = await volumes.head(check_volume_id(head["volume"]))
    tree = await volumes.trees.get(Digest(version.manifest))
    for path in _paths(head):
        if at(tree, path) is not None:
            raise VolumePathTaken(f"there is something at {path!r} already", path=path)


def change_of(head: Head) -> Change:
    """What a message asks to be done to a tree. Raises InvalidError, VolumePathInvalid."""
    paths = _paths(head)
    recursive, into = bool(head.get("recursive")), bool(head.get("into"))
    match head["do"]:
        case "remove":
            return lambda tree: _removed(tree, paths, recursive=recursive)
        case "copy":
            target = inner_path(head["to"])
            return lambda tree: copied(tree, paths, target, into=into, recursive=recursive)
        case "move":
            target = inner_path(head["to"])
            return lambda tree: _moved(tree, paths, target, into=into or len(paths) > 1)
        case other:
            raise InvalidError(f"a path can be copied, moved or removed: {other!r:.90} is none of that")


def _paths(head: Head) -> list[str]:
    paths = [inner_path(path) for path in head["paths"]]
    if not 0 < len(paths) <= MOST_AT_ONCE:
        raise InvalidError(f"a message has 1 to {MOST_AT_ONCE} paths, and not {len(paths)}")
    return paths


def _removed(tree: Manifest, paths: list[str], *, recursive: bool) -> Manifest:
    for path in paths:
        tree = removed(tree, path, recursive=recursive)
    return tree


def _moved(tree: Manifest, paths: list[str], target: str, *, into: bool) -> Manifest:
    for path in paths:
        tree = moved(tree, path, target, into=into)
    return tree


def _cut(parts: tuple[Part, ...], start: int, stop: int) -> Iterator[Part]:
    """What of the parts of a file lies between these places in it."""
    begin = 0
    for part in parts:
        low, high = max(start, begin), min(stop, begin + part.length)
        if low < high:
            yield Part(chunk=part.chunk, offset=part.offset + low - begin, length=high - low)
        begin += part.length


def _row(tree: Manifest, entry: Entry) -> Head:
    """What is told of an entry: of each name of a file that has several, what the file is."""
    inode = inode_at(tree, entry)
    assert isinstance(inode, Inode | Directory), "a version of a volume is no layer"
    row = {
        "path": entry.path,
        "kind": _KINDS[type(inode)],
        "size": inode.size if isinstance(inode, File) else 0,
        "mode": inode.attributes.mode,
        "mtime_s": inode.attributes.mtime_ns / 1e9,
    }
    return row | {"target": inode.target} if isinstance(inode, Symlink) else row


_KINDS: Final[dict[type[Entry], str]] = {
    File: "file",
    Directory: "directory",
    Symlink: "link",
    Fifo: "fifo",
}
