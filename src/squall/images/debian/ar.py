"""Ar: the members of a package's file, from its bytes as they come. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from squall.blobs.digest import Bytes

_MAGIC: Final = b"!<arch>\n"
_HEADER_BYTES: Final = 60
_MAX_MEMBERS: Final = 16
_NAME: Final = re.compile(rb"([A-Za-z0-9._+-]{1,16})/? *")
_SIZE: Final = re.compile(rb"([0-9]{1,10}) *")


@dataclass(frozen=True, slots=True)
class ArMember:
    """One member of an archive; its bytes follow. size in bytes."""

    name: str
    size: int


class ArReader:
    """Reads an archive in parts, cut anywhere; it holds one header. Raises ValueError, which says what is wrong."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = len(_MAGIC)
        self._body = 0
        self._padding = 0
        self._members = -1  # before the magic

    def feed(self, data: Bytes) -> Iterator[ArMember | memoryview]:
        """The members that begin in these bytes, and the bytes of members among them; all must be taken."""
        view = memoryview(data).cast("B")
        while view:
            if self._body:
                part, view = view[: self._body], view[self._body :]
                self._body -= len(part)
                yield part
            elif self._padding:
                view = view[1:]
                self._padding = 0
            else:
                missing = self._wanted - len(self._held)
                self._held += view[:missing]
                view = view[missing:]
                if len(self._held) == self._wanted:
                    yield from self._collected()

    def end(self) -> None:
        """Nothing more comes. Raises ValueError where something is missing."""
        if self._held or self._body or self._members < 0:
            raise ValueError("it is cut off")

    def _collected(self) -> Iterator[ArMember]:
        block, self._held, self._wanted = bytes(self._held), bytearray(), _HEADER_BYTES
        self._members += 1
        if not self._members:
            if block != _MAGIC:
                raise ValueError("it is no ar archive")
            return
        name, size = _NAME.fullmatch(block[:16]), _SIZE.fullmatch(block[48:58])
        if block[58:] != b"`\n" or name is None or size is None:
            raise ValueError("the header of a member is damaged")
        if self._members > _MAX_MEMBERS:
            raise ValueError(f"it has more than {_MAX_MEMBERS} members")
        self._body = int(size[1])
        self._padding = self._body % 2
        yield ArMember(name[1].decode(), self._body)
