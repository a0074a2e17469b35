"""Manifest: a directory as data, each path with all that a file system keeps of it, and its bytes by their chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest, is_digest
from squall.blobs.overlay_notes import is_overlay_note
from squall.blobs.path_names import MAX_PATH_BYTES, encoded, names_in
from squall.model.errors import TreeInvalid

MAX_ENTRIES: Final = 1_000_000
MAX_FILE_BYTES: Final = 1 << 40
MAX_XATTR_NAME_BYTES: Final = 255
MAX_XATTR_BYTES: Final = 64 << 10  # of one value, as in the kernel
MAX_XATTRS_BYTES: Final = 128 << 10  # of all names and values of one path

ROOT: Final = ""  # the path of the directory itself

_LINK_MODE: Final = 0o777
_MAX_OWNER: Final = 0xFFFF_FFFE


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What is kept of a path beside its bytes.

    mode: the twelve bits, with set-user-id, set-group-id and sticky. mtime_ns since 1970, below zero before.
    xattrs: (name, value), sorted by name. Raises TreeInvalid.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()

    def __post_init__(self) -> None:
        # Written out, as there may be a million of these.
        sound = 0 <= self.mode <= 0o7777 and 0 <= self.uid <= _MAX_OWNER and 0 <= self.gid <= _MAX_OWNER
        if not sound:
            raise TreeInvalid(f"no file has the mode {self.mode:o} and the owner {self.uid}:{self.gid}")
        if not -(1 << 63) <= self.mtime_ns < 1 << 63:
            raise TreeInvalid(f"no file was changed at {self.mtime_ns} ns")
        if self.xattrs:
            self._check_xattrs()

    def _check_xattrs(self) -> None:
        names = [_xattr_name(name) for name, _ in self.xattrs]
        if any(before >= after for before, after in pairwise(names)):
            raise TreeInvalid("extended attributes are not in their places")
        sizes = [len(value) for _, value in self.xattrs]
        if max(sizes) > MAX_XATTR_BYTES or sum(sizes) + sum(map(len, names)) > MAX_XATTRS_BYTES:
            raise TreeInvalid(
                f"extended attributes have at most {MAX_XATTR_BYTES} bytes each, {MAX_XATTRS_BYTES} together"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The next `length` bytes of a file: those from `offset` on in this chunk."""

    chunk: Digest
    offset: int
    length: int

    def __post_init__(self) -> None:
        end = self.offset + self.length
        if not is_digest(self.chunk) or self.offset < 0 or not 0 < self.length <= end <= CHUNK_BYTES:
            raise TreeInvalid(
                f"no part of a file: {self.length} bytes from {self.offset} in {self.chunk[:80]!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file; size in bytes, and the parts that these are in."""

    path: str
    attributes: Attributes
    size: int = 0
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_FILE_BYTES or sum(part.length for part in self.parts) != self.size:
            raise TreeInvalid(f"{self.path!r} has {self.size} bytes, and its parts others", path=self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory. opaque: in a layer, nothing of what the layers below have in it shows."""

    path: str
    attributes: Attributes
    opaque: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    """A symbolic link. Its target may lead anywhere: only a container follows it, in its own root."""

    path: str
    attributes: Attributes
    target: str

    def __post_init__(self) -> None:
        if not self.target or "\0" in self.target or len(encoded(self.target)) > MAX_PATH_BYTES:
            raise TreeInvalid(f"the link {self.path!r} has a target that nothing keeps", path=self.path)
        if self.attributes.mode != _LINK_MODE:
            raise TreeInvalid(f"the link {self.path!r} has the mode of something else", path=self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardlink:
    """A further name of what `first` names: a path before this one, of a file, a symbolic link or a FIFO."""

    path: str
    first: str

    def __post_init__(self) -> None:
        if names_in(self.first) >= names_in(self.path):
            raise TreeInvalid(f"{self.path!r} is another name of what comes later", path=self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fifo:
    """A named pipe. Anybody may make one, and it leads nowhere outside: unlike a device, of which no entry tells."""

    path: str
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Whiteout:
    """In a layer: what the layers below have at this path does not show."""

    path: str


Inode = File | Symlink | Fifo
Entry = Inode | Directory | Hardlink | Whiteout


class Order:
    """Checks entries one by one: each path once, after its directory, by its names from the top; the root first.

    It remembers one path and its directories, however many entries come. What it leaves to `Manifest` is that the
    first names of hard links are there.
    """

    def __init__(self) -> None:
        self._count = 0
        self._last: tuple[bytes, ...] = ()
        self._open: tuple[bytes, ...] = ()

    def admit(self, entry: Entry) -> tuple[bytes, ...]:
        """The names along the entry's path. Raises TreeInvalid for one that is out of place."""
        names = key(entry)
        if self._count == 0:
            if names or not isinstance(entry, Directory):
                raise TreeInvalid("a manifest begins with the directory itself", path=entry.path)
        elif names <= self._last:
            wrong = "there twice" if names == self._last else "not in its place"
            raise TreeInvalid(f"{entry.path!r} is {wrong}", path=entry.path)
        elif names[:-1] != self._open[: len(names) - 1]:
            raise TreeInvalid(f"the directory of {entry.path!r} is not there", path=entry.path)
        if self._count >= MAX_ENTRIES:
            raise TreeInvalid(f"a manifest has at most {MAX_ENTRIES} paths", path=entry.path)
        self._count += 1
        self._last = names
        self._open = names if isinstance(entry, Directory) else names[:-1]
        return names

    def end(self) -> None:
        """Nothing more comes. Raises TreeInvalid when nothing came."""
        if not self._count:
            raise TreeInvalid("a manifest has its own directory at least")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A directory or a layer as data. Equal manifests have equal bytes and so one digest.

    Equal directories have equal manifests where both were kept whole; of one that is stacked from layers, small files
    are in the chunks of their layers.

    entries: sorted by their names from the top, each after its directory, the first one the directory itself.
    Raises TreeInvalid, naming the path.
    """

    entries: tuple[Entry, ...] = field(repr=False)

    def __post_init__(self) -> None:
        order = Order()
        named: set[str] = set()
        for entry in self.entries:
            order.admit(entry)
            if isinstance(entry, Inode):
                named.add(entry.path)
            elif isinstance(entry, Hardlink) and entry.first not in named:
                raise TreeInvalid(
                    f"{entry.path!r} is another name of {entry.first!r}, which is none", path=entry.path
                )
        order.end()

    @property
    def size(self) -> int:
        """The bytes of all files together; those of several names once."""
        return sum(entry.size for entry in self.entries if isinstance(entry, File))

    @property
    def chunks(self) -> frozenset[Digest]:
        """The blobs that the files are made of."""
        return frozenset(
            part.chunk for entry in self.entries if isinstance(entry, File) for part in entry.parts
        )

    @property
    def whole(self) -> bool:
        """Whether this is a directory rather than a layer: it hides nothing of what would be below it."""
        return not any(hides(entry) for entry in self.entries)


def key(entry: Entry) -> tuple[bytes, ...]:
    """By what entries are sorted: the names along the path, none for the root. Raises TreeInvalid."""
    return names_in(entry.path) if entry.path != ROOT else ()


def hides(entry: Entry) -> bool:
    """Whether the entry has its meaning over other layers only."""
    return isinstance(entry, Whiteout) or (isinstance(entry, Directory) and entry.opaque)


def _xattr_name(name: str) -> bytes:
    raw = encoded(name)
    # What an overlay notes has its words here, such as a whiteout. As attributes, its notes could make the kernel show
    # one path in place of another.
    if not 0 < len(raw) <= MAX_XATTR_NAME_BYTES or b"\0" in raw or is_overlay_note(name):
        raise TreeInvalid(f"no extended attribute of a file: {name[:200]!r}")
    return raw
