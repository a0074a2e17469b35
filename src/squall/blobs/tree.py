"""Tree: the manifest of a directory, its sorted paths with the digests of their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, assert_never

from squall.blobs.digest import Bytes, Digest, digest_of, is_digest
from squall.model.errors import TreeInvalid

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = (
    4000  # the kernel takes 4095 from "/" on: this leaves room for where a tree is mounted
)
MAX_DEPTH: Final = 128  # a checkout holds one descriptor for each level
MAX_ENTRIES: Final = 1_000_000

_HEAD: Final = b'["squall-tree",1]\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file; of its mode only the x bit is kept. size in bytes."""

    path: str
    size: int
    digest: Digest
    executable: bool = False

    def __post_init__(self) -> None:
        if self.size < 0 or not is_digest(self.digest):
            raise TreeInvalid(f"{self.path!r} has no proper size and digest", path=self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link. Its target may lead anywhere: only the container follows it, in its own root."""

    path: str
    target: str

    def __post_init__(self) -> None:
        if not self.target or "\0" in self.target or len(_encoded(self.target)) > MAX_PATH_BYTES:
            raise TreeInvalid(
                f"the link {self.path!r} has a target that no file system keeps", path=self.path
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory with nothing in it; the others follow from the paths."""

    path: str


Entry = File | Link | Directory


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory as data. Equal directories have equal trees, equal bytes and so one digest.

    entries: sorted by their names from the top, each path once, nothing below a file or a link. Made by
    `tree_of`, which sorts; here the order is checked only. Raises TreeInvalid, naming the path.
    """

    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        if len(self.entries) > MAX_ENTRIES:
            raise TreeInvalid(f"a tree has at most {MAX_ENTRIES} paths, not {len(self.entries)}")
        keys = [names_in(entry.path) for entry in self.entries]
        for index, (before, after) in enumerate(pairwise(keys)):
            path = self.entries[index + 1].path
            if before == after:
                raise TreeInvalid(f"{path!r} is there twice", path=path)
            if before > after:
                raise TreeInvalid(f"{path!r} is not in its place", path=path)
            if after[: len(before)] == before:
                raise TreeInvalid(f"{path!r} lies below {self.entries[index].path!r}", path=path)

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(entry.size for entry in self.entries if isinstance(entry, File))

    @property
    def digests(self) -> frozenset[Digest]:
        """The digests of all files: the blobs that the tree needs."""
        return frozenset(entry.digest for entry in self.entries if isinstance(entry, File))

    @property
    def digest(self) -> Digest:
        """The digest of the tree's own bytes."""
        return digest_of(encode_tree(self))


def tree_of(entries: Iterable[Entry]) -> Tree:
    """The tree of these entries, in any order; directories that are not empty are left to follow from the paths."""
    ordered = sorted(entries, key=lambda entry: names_in(entry.path))
    return Tree(tuple(_without_full_directories(ordered)))


def names_in(path: str) -> tuple[bytes, ...]:
    """The names along a relative path, as the kernel gets them. Raises TreeInvalid for what a tree cannot hold."""
    encoded = _encoded(path)
    names = tuple(encoded.split(b"/"))
    wrong = _wrong_with(encoded, names)
    if wrong:
        raise TreeInvalid(f"{path[:200]!r} cannot be part of a tree: {wrong}", path=path[:200])
    return names


def encode_tree(tree: Tree) -> bytes:
    """The bytes of a tree: ASCII, one JSON array a line. Equal trees give equal bytes."""
    lines = [_HEAD]
    lines.extend(
        json.dumps(_row(entry), separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
        for entry in tree.entries
    )
    return b"".join(lines)


def decode_tree(data: Bytes) -> Tree:
    """The tree that these bytes say. Raises TreeInvalid for anything that `encode_tree` does not write."""
    raw = bytes(data)
    if not raw.startswith(_HEAD):
        raise TreeInvalid("these bytes are no tree, or one of a newer version")
    try:
        tree = Tree(tuple(_entry(json.loads(line)) for line in raw[len(_HEAD) :].splitlines()))
    except (ValueError, TypeError, RecursionError) as error:
        raise TreeInvalid(f"the bytes of a tree are damaged: {error}") from error
    # One tree, one spelling: otherwise the same directory would have many digests.
    if encode_tree(tree) != raw:
        raise TreeInvalid("the bytes of a tree are not as it is written")
    return tree


def _without_full_directories(ordered: list[Entry]) -> Iterator[Entry]:
    for entry, after in pairwise([*ordered, None]):
        if entry is None:
            continue
        if isinstance(entry, Directory) and after is not None and after.path != entry.path:
            own = names_in(entry.path)
            if names_in(after.path)[: len(own)] == own:
                continue
        yield entry


def _encoded(path: str) -> bytes:
    try:
        # Names on Linux are bytes: those that are no UTF-8 come and go as surrogates.
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise TreeInvalid(f"{path[:200]!r} cannot be a name on disk") from error


def _wrong_with(encoded: bytes, names: tuple[bytes, ...]) -> str:
    """Why no tree can hold this path; empty when it can."""
    if b"\0" in encoded:
        return "it has a NUL in it"
    if encoded.startswith(b"/"):
        return "it is absolute"
    if any(name in {b"", b".", b".."} for name in names):
        return "it has an empty name, '.' or '..' in it"
    if any(len(name) > MAX_NAME_BYTES for name in names):
        return f"a name in it is longer than {MAX_NAME_BYTES} bytes"
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    return f"it is deeper than {MAX_DEPTH} directories" if len(names) > MAX_DEPTH else ""


def _row(entry: Entry) -> list[Any]:
    match entry:
        case File():
            return ["x" if entry.executable else "f", entry.path, entry.size, entry.digest]
        case Link():
            return ["l", entry.path, entry.target]
        case Directory():
            return ["d", entry.path]
        case _:
            assert_never(entry)


def _entry(row: Any) -> Entry:
    match row:
        case ["f" | "x" as kind, str(path), int(size), str(digest)]:
            # int(): JSON's true is an int here, and must not be taken for another spelling of 1.
            return File(path=path, size=int(size), digest=Digest(digest), executable=kind == "x")
        case ["l", str(path), str(target)]:
            return Link(path=path, target=target)
        case ["d", str(path)]:
            return Directory(path=path)
        case _:
            raise ValueError(f"no entry of a tree: {str(row)[:200]}")
