"""Deb: what a package's file has in it, from its bytes as they come. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from squall.blobs.digest import Bytes
from squall.images.debian.ar import ArMember, ArReader
from squall.images.debian.stanza import parse_stanza
from squall.images.oci.limits import LIMITS, Limits
from squall.images.oci.tar_member import Kind, Member, shown
from squall.images.oci.tar_reader import TarReader
from squall.images.oci.unpacking import Unpacking, unpacking_of

_MAX_CONTROL_BYTES: Final = 16 << 20
_FORMAT: Final = b"2.0\n"
_CONTROL_NAME: Final = re.compile(rb"(?:\./)?([a-z0-9][a-z0-9.+-]{0,63})")
_ARCHIVES: Final = ("control.tar", "data.tar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What a package says of itself. fields: of its control file, text: all of that. files: the others, by their names.

    scripts: the names of those that are programs.
    """

    fields: dict[str, str]
    text: str
    files: dict[str, bytes]
    scripts: frozenset[str]


# memoryview: the next bytes of the file that was given last
Found = Control | Member | memoryview


class DebReader:
    """Reads a package's file in parts, cut anywhere: first what it says of itself, then its entries with their bytes.

    Raises ValueError, LayerInvalid, LayerTooLarge, FeatureUnavailable, which say what is wrong.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._ar = ArReader()
        self._seen: list[str] = []
        self._left = 0
        self._format = b""
        self._packed: Unpacking | None = None
        self._tar = TarReader(limits)
        self._control: dict[str, bytearray] = {}
        self._scripts: set[str] = set()
        self._control_bytes = 0
        self._filling = bytearray()

    def feed(self, data: bytes) -> Iterator[Found]:
        """What these bytes have; all must be taken."""
        for found in self._ar.feed(data):
            if isinstance(found, ArMember):
                self._begin(found)
            else:
                yield from self._body(found)
                self._left -= len(found)
            if not self._left:
                yield from self._ended()

    def end(self) -> None:
        """Nothing more comes. Raises ValueError where something is missing."""
        self._ar.end()
        if self._seen != ["debian-binary", *_ARCHIVES]:
            raise ValueError("it is no package: it lacks its description or its files")

    def _begin(self, member: ArMember) -> None:
        self._left = member.size
        self._packed = None
        name = member.name
        if name.startswith("_"):
            return  # what the format reserves for others' notes
        wanted = ("debian-binary", *_ARCHIVES)[len(self._seen) :][:1]
        stem = next((stem for stem in _ARCHIVES if name == stem or name.startswith(stem + ".")), name)
        if (stem,) != wanted:
            raise ValueError(f"it has the member {name} where none of that name may be")
        self._seen.append(stem)
        if stem in _ARCHIVES:
            self._packed = unpacking_of(name.removeprefix(stem), self._limits)
            self._tar = TarReader(self._limits)

    def _body(self, data: Bytes) -> Iterator[Found]:
        if self._packed is not None:
            for part in self._packed.feed(bytes(data)):
                yield from self._read(part)
        elif self._seen == ["debian-binary"]:
            self._format = (self._format + bytes(data))[: len(_FORMAT)]

    def _ended(self) -> Iterator[Found]:
        if self._packed is not None:
            for part in self._packed.end():
                yield from self._read(part)
            self._packed = None
            self._tar.end()
            if self._seen[-1] == _ARCHIVES[0]:
                yield self._said()
        elif self._seen == ["debian-binary"] and self._format != _FORMAT:
            raise ValueError(f"it has the format {self._format!r}, and only 2.0 is known here")

    def _read(self, part: bytes) -> Iterator[Found]:
        if self._seen[-1] == _ARCHIVES[1]:
            yield from self._tar.feed(part)
            return
        for found in self._tar.feed(part):
            if isinstance(found, Member):
                self._filling = self._control_file(found)
            else:
                self._filling += found

    def _control_file(self, member: Member) -> bytearray:
        if member.kind is Kind.DIRECTORY:
            return bytearray()
        name = _CONTROL_NAME.fullmatch(member.name)
        if member.kind is not Kind.FILE or name is None or name[1].decode() in self._control:
            raise ValueError(f"its description has the entry {shown(member.name)}, which none may have")
        self._control_bytes += member.size
        if self._control_bytes > _MAX_CONTROL_BYTES:
            raise ValueError(f"its description has more than {_MAX_CONTROL_BYTES} bytes")
        if member.mode & 0o111:
            self._scripts.add(name[1].decode())
        return self._control.setdefault(name[1].decode(), bytearray())

    def _said(self) -> Control:
        files = {name: bytes(data) for name, data in self._control.items()}
        text = files.pop("control", b"").decode("utf-8", "surrogateescape").strip("\n")
        if "\n\n" in text:
            raise ValueError("its description has more than one part")
        return Control(
            fields=parse_stanza(text), text=text, files=files, scripts=frozenset(self._scripts & files.keys())
        )
