"""ELF: what a program or library of 64 bits needs of the system that it is loaded on. Pure."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_ELF_BYTES: Final = 256 << 20  # a larger file is not looked at

_IDENT: Final = b"\x7fELF\x02\x01\x01"  # 64 bits, the small end first, version 1
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_TAG: Final = struct.Struct("<QQ")
_NEED: Final = struct.Struct("<HHIII")
_NEEDED_VERSION: Final = struct.Struct("<IHHII")
_DEFINED: Final = struct.Struct("<HHHHIII")
_DEFINED_NAME: Final = struct.Struct("<II")
_MACHINES: Final = {62: "x86_64", 183: "aarch64"}
_KINDS: Final = frozenset({2, 3})  # a program, and what can be loaded anywhere

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_TAG_END, _TAG_NEEDED, _TAG_STRINGS, _TAG_STRINGS_SIZE = 0, 1, 5, 10
_TAG_SONAME, _TAG_RPATH, _TAG_RUNPATH = 14, 15, 29
_TAG_DEFINED, _TAG_DEFINED_COUNT, _TAG_NEEDS, _TAG_NEEDS_COUNT = (
    0x6FFF_FFFC,
    0x6FFF_FFFD,
    0x6FFF_FFFE,
    0x6FFF_FFFF,
)
# What real files have is far below; a hostile one costs no more than these.
_MOST_SEGMENTS: Final = 256
_MOST_TAGS: Final = 4_096
_MOST_VERSIONS: Final = 8_192
_MOST_NAME_BYTES: Final = 4_096

Data = bytes | mmap.mmap


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """What the loader reads of a file.

    machine: as `uname -m` says. interpreter: the loader that a program asks for, None for a library. needed: the names of libraries, in
    their order. rpath: the directories to look in, as they are written. runpath: whether these are for its own libraries only, and
    after LD_LIBRARY_PATH. requires: for each library, the versions of symbols that it must define. defines: the versions that this one does.
    """

    machine: str
    interpreter: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: bool = False
    requires: tuple[tuple[str, tuple[str, ...]], ...] = ()
    defines: tuple[str, ...] = ()


def read_elf(data: Data) -> Elf | None:
    """What these bytes, a whole file, say; None for another kind of file and for one that is damaged.

    Whatever they are, time and memory stay small: tables are read up to a bound, and never beyond the file.
    """
    try:
        return _read(data)
    except (struct.error, ValueError, OverflowError):
        return None


def newest_glibc(versions: tuple[str, ...]) -> tuple[int, ...] | None:
    """The highest of the versions named GLIBC_2.36 and alike, as (2, 36); None where there is none."""
    found = [_numbers(name.removeprefix("GLIBC_")) for name in versions if name.startswith("GLIBC_")]
    return max((numbers for numbers in found if numbers), default=None)


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def _read(data: Data) -> Elf | None:
    if data[: len(_IDENT)] != _IDENT or len(data) > MAX_ELF_BYTES:
        return None
    head = _HEADER.unpack_from(data)
    kind, machine, table, size, count = head[1], head[2], head[5], head[9], head[10]
    if kind not in _KINDS or machine not in _MACHINES or size != _SEGMENT.size or count > _MOST_SEGMENTS:
        return None
    segments = [_segment(data, table + number * size) for number in range(count)]
    interpreter = next((_whole(data, one) for one in segments if one.kind == _INTERPRETER), None)
    tags = list(_tags(data, segments))
    if not tags:
        return Elf(machine=_MACHINES[machine], interpreter=interpreter)
    return _linked(_Strings(data, segments, tags), tags, _MACHINES[machine], interpreter)


def _linked(strings: _Strings, tags: list[tuple[int, int]], machine: str, interpreter: str | None) -> Elf:
    runpath, rpath = strings.first(_TAG_RUNPATH), strings.first(_TAG_RPATH)
    written = runpath if runpath is not None else rpath
    return Elf(
        machine=machine,
        interpreter=interpreter,
        soname=strings.first(_TAG_SONAME),
        needed=tuple(strings.at(value) for tag, value in tags if tag == _TAG_NEEDED),
        rpath=tuple(part for part in (written or "").split(":") if part),
        runpath=runpath is not None,
        requires=tuple(_requires(strings)),
        defines=tuple(_defines(strings)),
    )


def _segment(data: Data, at: int) -> _Segment:
    kind, _flags, offset, address, _physical, size, _memory, _align = _SEGMENT.unpack_from(data, at)
    return _Segment(kind, offset, address, size)


def _whole(data: Data, segment: _Segment) -> str:
    if segment.size > _MOST_NAME_BYTES:
        raise ValueError("the name of a loader is longer than any path")
    return _text(bytes(data[segment.offset : segment.offset + segment.size]))


def _tags(data: Data, segments: list[_Segment]) -> Iterator[tuple[int, int]]:
    table = next((one for one in segments if one.kind == _DYNAMIC), None)
    if table is None:
        return
    for number in range(min(table.size // _TAG.size, _MOST_TAGS)):
        tag, value = _TAG.unpack_from(data, table.offset + number * _TAG.size)
        if tag == _TAG_END:
            return
        yield tag, value


class _Strings:
    """The file with its table of names, which the other tables point into."""

    def __init__(self, data: Data, segments: list[_Segment], tags: list[tuple[int, int]]) -> None:
        self.data = data
        self._segments = segments
        self._values = dict(reversed(tags))  # of a tag that is there twice, the first
        self._start = self.offset_of(_TAG_STRINGS)
        self._size = self._values.get(_TAG_STRINGS_SIZE, 0)

    def value(self, tag: int) -> int:
        return self._values.get(tag, 0)

    def first(self, tag: int) -> str | None:
        """The name that the tag points to; None without the tag."""
        return self.at(self._values[tag]) if tag in self._values else None

    def at(self, at: int) -> str:
        """The name that begins there. Raises ValueError for one that does not end in the table."""
        start = self._start + at
        most = max(0, min(self._size - at, _MOST_NAME_BYTES))
        return _text(bytes(self.data[start : start + most]))

    def offset_of(self, tag: int) -> int:
        """Where in the file the table of this tag begins. Raises ValueError where no part of it is loaded there."""
        address = self._values.get(tag)
        if address is None:
            raise ValueError("a table is missing")
        for one in self._segments:
            if one.kind == _LOAD and one.address <= address < one.address + one.size:
                return address - one.address + one.offset
        raise ValueError("a table lies outside the file")


def _requires(strings: _Strings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each library, the versions of symbols that the file needs it to define, but for those that may be missing."""
    left = strings.value(_TAG_NEEDS_COUNT)
    if not left:
        return
    at, versions = strings.offset_of(_TAG_NEEDS), 0
    for _ in range(left):
        _version, count, name, first, following = _NEED.unpack_from(strings.data, at)
        names: list[str] = []
        below = at + first
        for _ in range(count):
            versions += 1
            if versions > _MOST_VERSIONS:
                raise ValueError("more versions than any file needs")
            _hash, flags, _other, text, after = _NEEDED_VERSION.unpack_from(strings.data, below)
            if not flags & _WEAK:
                names.append(strings.at(text))
            below += after
        versions += 1
        if versions > _MOST_VERSIONS:
            raise ValueError("more libraries than any file needs")
        yield strings.at(name), tuple(names)
        at += following


_WEAK: Final = 2
_IS_FILE: Final = 1  # the first of what a library defines is its own name


def _defines(strings: _Strings) -> Iterator[str]:
    left = strings.value(_TAG_DEFINED_COUNT)
    if not left:
        return
    if left > _MOST_VERSIONS:
        raise ValueError("more versions than any library defines")
    at = strings.offset_of(_TAG_DEFINED)
    for _ in range(left):
        _version, flags, _index, _count, _hash, first, following = _DEFINED.unpack_from(strings.data, at)
        if not flags & _IS_FILE:
            text, _after = _DEFINED_NAME.unpack_from(strings.data, at + first)
            yield strings.at(text)
        at += following


def _text(raw: bytes) -> str:
    end = raw.find(b"\0")
    if end < 0:
        raise ValueError("a name has no end")
    return raw[:end].decode("utf-8", "surrogateescape")


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    return (
        tuple(map(int, parts))
        if all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts)
        else ()
    )
