"""Archives: what ADD unpacks, and where in an image its files go. No path of an archive is ever opened: names are data."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Bytes
from squall.blobs.kept_chunks import file_bytes
from squall.blobs.manifest import Attributes, Directory, Entry, File, Hardlink, Symlink, Whiteout
from squall.blobs.path_names import names_in
from squall.images.flight import Say
from squall.images.oci.kept_tree import KeptTree
from squall.images.oci.layer_names import WHITEOUT, Names, names_of
from squall.images.oci.limits import Limits
from squall.images.oci.member_in import attributes_in, target_in
from squall.images.oci.tar_header import read_header
from squall.images.oci.tar_member import BLOCK, Kind, Member, shown
from squall.images.oci.tar_reader import TarReader
from squall.images.oci.unpacking import Unpacking, unpacking_by
from squall.images.rooted.laying import Below, led
from squall.model.errors import ImageBuildError, LayerInvalid, LayerTooLarge

LIMITS: Final = Limits(entries=300_000, held_bytes=96 << 20)
"""All of an archive's entries are held while it is unpacked, so that they are fewer than of a layer."""

_MAGIC_BYTES: Final = 8
_LOOKED_AT_BYTES: Final = 4 << 20  # bzip2 gives nothing before it has a block, which is a megabyte
_FOLDER: Final = Attributes(mode=0o755)
_DEVICES: Final = frozenset({Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE})
_MOST_NOTES: Final = 100
_INSTEAD: Final = "make the archive without it, or COPY the archive and unpack it in a RUN"


async def is_archive(file: File, blobs: BlobStore) -> bool:
    """Whether ADD unpacks a file, as Docker tells: unpacked, it begins with the header of a tar archive, whatever its name.

    Raises FeatureUnavailable for one that zstd has packed where nothing here reads that.
    """
    unpacking: Unpacking | None = None
    block, taken = b"", 0
    async for data in file_bytes(file, blobs):
        unpacking = unpacking or unpacking_by(bytes(data[:_MAGIC_BYTES]), LIMITS)
        taken += len(data)
        try:
            for part in unpacking.feed(bytes(data)):
                block += part[: BLOCK - len(block)]
                if len(block) == BLOCK:
                    return read_header(block) is not None
        except (LayerInvalid, LayerTooLarge):
            return False
        if taken > _LOOKED_AT_BYTES:
            return False
    return False


class Archives:
    """Archives on their way into one directory of an image, one after the other: of what comes twice, the last counts.

    dest: the directory, absolute in the image, made where there is none. owner: whose all of it is; None: as the archives say. say: is told
    what is left out. Memory is some 30 MiB, and about 1 KB for each path.
    """

    def __init__(
        self, dest: str, owner: tuple[int, int] | None, below: Below, blobs: BlobStore, say: Say
    ) -> None:
        self._dest = dest
        self._owner = owner
        self._below = below
        self._blobs = blobs
        self._say = say
        self._kept = KeptTree(blobs, LIMITS, self._at)
        self._ignored = False
        self._notes: list[str] = []
        self.any = False

    async def add(self, file: File, name: str) -> None:
        """Takes one archive. Raises LayerInvalid naming the entry that is wrong, LayerTooLarge, and what the store raises."""
        unpacking: Unpacking | None = None
        reader = TarReader(LIMITS)
        self.any = True
        try:
            async for data in file_bytes(file, self._blobs):
                unpacking = unpacking or unpacking_by(bytes(data[:_MAGIC_BYTES]), LIMITS)
                await self._kept.through(self._steps(unpacking.feed(bytes(data)), reader))
            if unpacking is not None:
                await self._kept.through(self._steps(unpacking.end(), reader))
            reader.end()
        except LayerInvalid as wrong:
            raise LayerInvalid(
                f"ADD cannot unpack {name}: {wrong.message}", entry=wrong.entry, remedy=_INSTEAD
            ) from None
        except LayerTooLarge as wrong:
            raise LayerTooLarge(
                f"ADD cannot unpack {name}: {wrong.message}",
                limit=wrong.limit,
                remedy="COPY the archive and unpack it in a RUN, if it is one that you trust",
            ) from None

    async def laid(self) -> tuple[Entry, ...]:
        """All that they have, where the image's own links lead. Raises ImageBuildError where something else is in its place."""
        top = led(self._dest, self._below)
        there = self._below(top)
        if there is not None and not isinstance(there, Directory):
            raise ImageBuildError(
                f"/{top} is a file in the image, and an archive is unpacked into a directory"
            )
        made = () if there is not None else (Directory(path=top, attributes=self._own(_FOLDER)),)
        _, *entries = await self._kept.taken()
        for note in self._notes:
            self._say(f"  {note}")
        return (*made, *_placed(entries, top, self._below))

    async def close(self) -> None:
        """Ends what it has begun."""
        await self._kept.close()

    def _at(self, path: str) -> Entry | None:
        """What the image shows at a path below the destination; of a link to a directory, that."""
        above, _, name = posixpath.join(self._dest, path).rstrip("/").rpartition("/")
        place = f"{led(above, self._below)}/{name}".strip("/")
        found = self._below(place)
        if isinstance(found, Symlink):
            behind = self._below(led(place, self._below))
            return behind if isinstance(behind, Directory) else found
        return found

    def _steps(self, parts: Iterator[bytes], reader: TarReader) -> Iterator[None]:
        for part in parts:
            for found in reader.feed(part):
                if isinstance(found, Member):
                    self._member(found)
                else:
                    self._bytes(found)
            yield

    def _bytes(self, data: Bytes) -> None:
        if not self._ignored:
            self._kept.add(data)

    def _member(self, member: Member) -> None:
        names = names_of(member.name, LIMITS)
        if any(name.startswith(WHITEOUT) for name in names):
            raise LayerInvalid(
                f"{shown(member.name)} is named as only what hides other files of a layer is",
                entry=shown(member.name),
            )
        self._ignored = member.kind in _DEVICES
        if self._ignored:
            self._kept.tree.leave_out(names)
            self._note(f"{shown(member.name)} is a device, which leads out of every directory: left out")
        elif names or member.kind is not Kind.DIRECTORY:
            # What an archive says of its own top is not said of the directory that it is unpacked into.
            self._inode(names, member)

    def _inode(self, names: Names, member: Member) -> None:
        tree = self._kept.tree
        if member.kind is Kind.HARDLINK:
            tree.add_name(names, names_of(member.target, LIMITS))
            return
        attributes = self._attributes(member)
        match member.kind:
            case Kind.DIRECTORY:
                tree.add_directory(names, attributes)
            case Kind.SYMLINK:
                tree.add_symlink(names, attributes, target_in(member))
            case Kind.FIFO:
                tree.add_fifo(names, attributes)
            case _:
                if member.size > LIMITS.unpacked_bytes:
                    raise LayerTooLarge(
                        f"{shown(member.name)} has {member.size} bytes", limit=LIMITS.unpacked_bytes
                    )
                self._kept.begin(names, attributes, member.size)

    def _attributes(self, member: Member) -> Attributes:
        attributes, left = attributes_in(member)
        if left:
            self._note(f"extended attributes of {shown(member.name)} left out: {', '.join(left)[:200]}")
        return self._own(attributes)

    def _own(self, attributes: Attributes) -> Attributes:
        if self._owner is None:
            return attributes
        return replace(attributes, uid=self._owner[0], gid=self._owner[1])

    def _note(self, what: str) -> None:
        """Told later: this is in a thread."""
        if len(self._notes) < _MOST_NOTES:
            self._notes.append(what)


def _placed(entries: Iterable[Entry], top: str, below: Below) -> Iterator[Entry]:
    """The same below `top` where the image's links lead; directories of the image have the attributes that the archive gives them.

    Names of one file stay that, whichever of them comes first then.
    """
    places, inodes, first_of = {"": top}, dict[str, Entry](), dict[str, str]()
    for entry in entries:
        if isinstance(entry, Whiteout):
            continue  # in the place of what was left out
        above, _, name = entry.path.rpartition("/")
        path = f"{places[above]}/{name}".strip("/")
        there = below(path)
        if isinstance(entry, Directory):
            path = led(path, below) if isinstance(there, Symlink) else path
            _demand(there is None or isinstance(below(path), Directory), path, "a file", "a directory")
            places[entry.path] = path
            yield replace(entry, path=path)
            continue
        _demand(not isinstance(there, Directory), path, "a directory", "a file")
        first = entry.first if isinstance(entry, Hardlink) else entry.path
        inodes.setdefault(first, entry)
        first_of[path] = first
    names: dict[str, list[str]] = {}
    for path, first in first_of.items():
        names.setdefault(first, []).append(path)
    for first, paths in names.items():
        one, *others = sorted(paths, key=names_in)
        yield replace(inodes[first], path=one)
        yield from (Hardlink(path=other, first=one) for other in others)


def _demand(holds: bool, path: str, there: str, comes: str) -> None:  # noqa: FBT001 - what must be so
    if not holds:
        raise ImageBuildError(
            f"/{path} is {there} in the image, and ADD would put {comes} there",
            remedy="remove it in a RUN before, or choose another destination",
        )
