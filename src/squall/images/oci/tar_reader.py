"""Tar reader: the entries of an archive, from its bytes as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from squall.blobs.digest import Bytes
from squall.images.oci.limits import LIMITS, Limits
from squall.images.oci.tar_header import (
    GLOBAL,
    LONG_NAME,
    LONG_TARGET,
    RECORDS,
    Extension,
    Header,
    check_global,
    member_of,
    read_extension,
    read_header,
    read_records,
)
from squall.images.oci.tar_member import BLOCK, Member, padding, shown
from squall.model.errors import LayerInvalid, LayerTooLarge

_MAX_EXTENSION_BYTES: Final = 1 << 20  # records, or a long name

_LONG: Final = {LONG_NAME: b"path", LONG_TARGET: b"linkpath"}

# bytes: the next ones of the file that was given last
Found = Member | memoryview


class TarReader:
    """Reads ustar, PAX and GNU archives in parts, cut anywhere. It holds one header and what extends it.

    It refuses with LayerInvalid what is damaged, and what programs read in different ways; with LayerTooLarge what
    exceeds its limits.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._entries = 0
        self._read = 0
        # What is collected: a header, or what extends the next one, with its own header.
        self._held = bytearray()
        self._wanted = BLOCK
        self._extending: Extension | None = None
        self._extensions: dict[bytes, bytes] = {}
        # What is passed on: the rest of a file, and of its last block.
        self._body = 0
        self._padding = 0
        # Blocks of zeros so far: with the second one, the archive is at its end.
        self._zeros = 0

    def feed(self, data: Bytes) -> Iterator[Found]:
        """The entries that begin in these bytes, and the bytes of files among them; all must be taken."""
        view = memoryview(data).cast("B")
        self._read += len(view)
        if self._read > self._limits.unpacked_bytes:
            limit = self._limits.unpacked_bytes
            raise LayerTooLarge(f"the layer unpacks to more than {limit} bytes", limit=limit)
        at, size = 0, len(view)
        while at < size and self._zeros < 2:
            if self._body:
                part = view[at : at + self._body]
                at += len(part)
                self._body -= len(part)
                yield part
            elif self._padding:
                skipped = min(self._padding, size - at)
                self._padding -= skipped
                at += skipped
            else:
                taken = view[at : at + self._wanted - len(self._held)]
                at += len(taken)
                if self._held or len(taken) < self._wanted:
                    self._held += taken
                    if len(self._held) < self._wanted:
                        return
                    block, self._held = bytes(self._held), bytearray()
                else:
                    block = bytes(taken)
                member = self._collected(block)
                if member is not None:
                    yield member

    def end(self) -> None:
        """Nothing more comes. Raises LayerInvalid where something is missing."""
        if self._held or self._body or self._padding or self._extensions or self._extending:
            raise LayerInvalid("the archive is cut off in the middle of an entry")

    def _collected(self, block: bytes) -> Member | None:
        """The entry that begins with a header that was collected; None where this was no such header."""
        if self._extending is not None:
            extension, self._extending, self._wanted = self._extending, None, BLOCK
            self._extended(extension, block)
            return None
        header = read_extension(block) or read_header(block)
        if header is None:
            self._zeros += 1
            return None
        if self._zeros:
            raise LayerInvalid("the archive goes on after a block of zeros, which ends it")
        if isinstance(header, Extension):
            self._begin_extension(header)
            return None
        return self._member(header)

    def _begin_extension(self, header: Extension) -> None:
        if header.size > _MAX_EXTENSION_BYTES:
            raise LayerInvalid(
                f"an extended header of the archive has {header.size} bytes; "
                f"{_MAX_EXTENSION_BYTES} are enough for every name"
            )
        if header.letter in self._extensions:
            raise LayerInvalid(
                "an entry of the archive has two extended headers: programs differ on which counts"
            )
        self._extending = header
        self._wanted = header.size + padding(header.size)
        if not self._wanted:
            self._extending, self._wanted = None, BLOCK
            self._extended(header, b"")

    def _extended(self, header: Extension, block: bytes) -> None:
        data = block[: header.size]
        if header.letter == GLOBAL:
            check_global(read_records(data))
        else:
            self._extensions[header.letter] = data

    def _member(self, header: Header) -> Member:
        said, self._extensions = self._extensions, {}
        records = read_records(said.pop(RECORDS, b""))
        for letter, key in _LONG.items() if said else ():
            if letter in said:
                if key in records:
                    raise LayerInvalid(
                        "an entry of the archive has two long names: programs differ on which counts"
                    )
                records[key] = said[letter].rstrip(b"\0")
        member = member_of(header, records)
        self._entries += 1
        if self._entries > self._limits.entries:
            limit = self._limits.entries
            raise LayerTooLarge(
                f"the layer has more than {limit} entries; the next one is {shown(member.name)}", limit=limit
            )
        self._body, self._padding = member.size, padding(member.size)
        return member
