"""Layer in: the archive of a layer into chunks and one manifest, in one pass over its bytes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Bytes, Digest, Digester
from squall.images.oci.compression import Compression, Unpacker
from squall.images.oci.kept_tree import KeptTree
from squall.images.oci.layer_names import WHITEOUT, Names, hidden_by, is_others_note, names_of
from squall.images.oci.layer_tree import Lower, nothing_below
from squall.images.oci.limits import LIMITS, Limits
from squall.images.oci.member_in import attributes_in, target_in
from squall.images.oci.tar_member import Kind, Member, shown
from squall.images.oci.tar_reader import TarReader
from squall.model.errors import DigestMismatch, LayerTooLarge

_SLICE_BYTES: Final = 256 << 10  # of what comes, taken at once
_MAX_NOTES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What was said of a layer before it came. digest and size: of its bytes as they come, packed; diff_id: of the archive."""

    digest: Digest | None = None
    size: int | None = None
    diff_id: Digest | None = None


NOTHING: Final = Announced()


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a layer had and its manifest has not, or has otherwise: where, and what."""

    path: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerIn:
    """A layer that was kept.

    manifest: the digest of its manifest. digest, size: of its bytes as they came. diff_id, unpacked_bytes: of the
    archive. entries: paths of the manifest; files_bytes: of all its files. notes: the first hundred of `noted`.
    """

    manifest: Digest
    digest: Digest
    size: int
    diff_id: Digest
    unpacked_bytes: int
    compression: Compression
    entries: int
    files_bytes: int
    notes: tuple[Note, ...]
    noted: int


async def layer_in(
    source: AsyncIterable[Bytes],
    blobs: BlobStore,
    *,
    announced: Announced = NOTHING,
    lower: Lower = nothing_below,
    limits: Limits = LIMITS,
) -> LayerIn:
    """Puts a layer into the store: its chunks as they come, and its manifest once all was seen to be right.

    source: the archive, plain or packed with gzip or zstd. lower: what the layers below show at a path, asked in a
    thread; a hard link to a path of theirs becomes a file of its own with the same chunks. Directories of which no
    entry tells have the attributes of those below; over a link or a file they take its place, which is noted. Without
    `lower` such a link is refused, and such directories are root's, of mode 0755. No path of the archive is ever
    opened: names are data. Memory stays below some 60 MiB, beside the paths (limits.held_bytes at most) and what
    unpacks zstd.

    Raises LayerInvalid (the entry is named), LayerTooLarge, DigestMismatch, FeatureUnavailable, and what the store
    raises; then no manifest is kept, and chunks that nothing names go with the next sweep.
    """
    taking = _Taking(blobs, announced, lower, limits)
    try:
        async for data in source:
            view = memoryview(data).cast("B")
            for at in range(0, len(view), _SLICE_BYTES):
                await taking.through(taking.take(bytes(view[at : at + _SLICE_BYTES])))
        await taking.through(taking.end())
        return await taking.kept()
    finally:
        await taking.close()


class _Content:
    """What of a layer was understood so far, and what is told of it."""

    def __init__(self, kept: KeptTree, limits: Limits) -> None:
        self._kept = kept
        self._tree = kept.tree
        self.notes: list[Note] = []
        self.noted = 0
        self._limits = limits
        self._ignored = False

    def bytes_of_file(self, data: Bytes) -> None:
        if not self._ignored:
            self._kept.add(data)

    def member(self, member: Member) -> None:
        """The next entry. Raises LayerInvalid, LayerTooLarge."""
        names = names_of(member.name, self._limits)
        hidden = hidden_by(names, member.kind, member.name)
        self._ignored = hidden is not None or (WHITEOUT in member.name and is_others_note(names))
        if hidden is not None and hidden.within:
            self._tree.hide_within(hidden.names)
        elif hidden is not None:
            self._tree.hide(hidden.names)
        elif self._ignored:
            self._note(names, "a union file system's own note: left out")
        elif member.kind is Kind.HARDLINK:
            self._tree.add_name(names, names_of(member.target, self._limits))
        elif member.kind in {Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE}:
            self._tree.leave_out(names)
            self._note(names, "a device, which leads out of every directory: left out")
        else:
            self._inode(names, member)

    def replaced(self, path: str) -> None:
        """Notes that something below gives way to a directory of which no entry tells."""
        name = path.encode("utf-8", "surrogateescape")
        self._note((name,), "a link or a file of the layers below, in whose place a directory comes")

    def _inode(self, names: Names, member: Member) -> None:
        attributes, left = attributes_in(member)
        if left:
            self._note(names, f"extended attributes left out: {', '.join(left)[:200]}")
        match member.kind:
            case Kind.DIRECTORY:
                self._tree.add_directory(names, attributes)
            case Kind.SYMLINK:
                self._tree.add_symlink(names, attributes, target_in(member))
            case Kind.FIFO:
                self._tree.add_fifo(names, attributes)
            case _:
                most = self._limits.unpacked_bytes
                if member.size > most:
                    raise LayerTooLarge(
                        f"{shown(member.name)} has {member.size} bytes, and a layer at most {most}",
                        limit=most,
                    )
                self._kept.begin(names, attributes, member.size)

    def _note(self, names: Names, what: str) -> None:
        self.noted += 1
        if len(self.notes) < _MAX_NOTES:
            path = b"/".join(names)[:200].decode("utf-8", "surrogateescape")
            self.notes.append(Note(path=path, what=what))


class _Taking:
    """One layer while it is taken."""

    def __init__(self, blobs: BlobStore, announced: Announced, lower: Lower, limits: Limits) -> None:
        self._announced = announced
        self._unpacker = Unpacker(limits)
        self._packed = Digester()
        self._unpacked = Digester()
        self._reader = TarReader(limits)
        self._kept = KeptTree(blobs, limits, lower)
        self._content = _Content(self._kept, limits)

    def take(self, data: bytes) -> Iterator[None]:
        """Takes bytes as they came; after each step the caller may put chunks away."""
        self._packed.update(data)
        most = self._announced.size
        if most is not None and self._packed.size > most:
            raise DigestMismatch(
                f"a layer was announced with {most} bytes, and more came", announced=self._announced.digest
            )
        for part in self._unpacker.feed(data):
            self._read(part)
            yield

    def end(self) -> Iterator[None]:
        """Nothing more comes. Raises DigestMismatch where this was not what was announced."""
        for part in self._unpacker.end():
            self._read(part)
            yield
        self._reader.end()
        said = self._announced
        for announced, arrived in (
            (said.digest, self._packed.digest()),
            (said.diff_id, self._unpacked.digest()),
        ):
            if announced is not None and announced != arrived:
                raise DigestMismatch(
                    f"a layer was announced as {announced}, and what came is {arrived}",
                    announced=announced,
                    arrived=arrived,
                )
        if said.size is not None and said.size != self._packed.size:
            raise DigestMismatch(
                f"a layer was announced with {said.size} bytes, and {self._packed.size} came"
            )

    async def through(self, steps: Iterator[None]) -> None:
        """As KeptTree."""
        await self._kept.through(steps)

    async def kept(self) -> LayerIn:
        """Keeps the manifest, once all chunks are kept."""
        manifest = await self._kept.kept(self._content.replaced)
        content = self._content
        return LayerIn(
            manifest=manifest,
            digest=self._packed.digest(),
            size=self._packed.size,
            diff_id=self._unpacked.digest(),
            unpacked_bytes=self._unpacked.size,
            compression=self._unpacker.compression or Compression.NONE,
            entries=self._kept.entries,
            files_bytes=self._kept.files_bytes,
            notes=tuple(content.notes),
            noted=content.noted,
        )

    async def close(self) -> None:
        await self._kept.close()

    def _read(self, part: bytes) -> None:
        self._unpacked.update(part)
        for found in self._reader.feed(part):
            if isinstance(found, Member):
                self._content.member(found)
            else:
                self._content.bytes_of_file(found)
