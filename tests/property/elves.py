"""Programs and libraries made by hand, with nothing in them but what a loader reads."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from squall.images.python.elf import Elf

ADDRESS = 0x40_0000  # where the file is loaded: no offset is an address by chance
_MACHINES = {"x86_64": 62, "aarch64": 183}


@dataclass
class _Strings:
    data: bytearray = field(default_factory=lambda: bytearray(b"\0"))

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode("utf-8", "surrogateescape") + b"\0"
        return at


def elf_file(elf: Elf) -> bytes:
    """A file of which `read_elf` says `elf`."""
    strings = _Strings()
    tags = [(1, strings.add(name)) for name in elf.needed]
    if elf.soname is not None:
        tags.append((14, strings.add(elf.soname)))
    if elf.rpath:
        tags.append((29 if elf.runpath else 15, strings.add(":".join(elf.rpath))))
    requires, defines = _requires(elf, strings), _defines(elf, strings)
    interpreter = (elf.interpreter or "").encode() + b"\0"
    count = 3 if elf.interpreter is not None else 2
    at = 64 + 56 * count
    body = bytearray()
    places: dict[str, int] = {}
    for name, part in (
        ("strings", bytes(strings.data)),
        ("interpreter", interpreter),
        ("requires", requires),
        ("defines", defines),
    ):
        body += bytes(-len(body) % 8)
        places[name] = at + len(body)
        body += part
    tags += [(5, ADDRESS + places["strings"]), (10, len(strings.data))]
    if elf.requires:
        tags += [(0x6FFFFFFE, ADDRESS + places["requires"]), (0x6FFFFFFF, len(elf.requires))]
    if elf.defines:
        tags += [(0x6FFFFFFC, ADDRESS + places["defines"]), (0x6FFFFFFD, len(elf.defines) + 1)]
    body += bytes(-len(body) % 8)
    table = at + len(body)
    body += b"".join(struct.pack("<QQ", *tag) for tag in (*tags, (0, 0)))
    whole = at + len(body)
    segments = [(1, 0, ADDRESS, whole), (2, table, ADDRESS + table, whole - table)]
    if elf.interpreter is not None:
        segments.append((3, places["interpreter"], ADDRESS + places["interpreter"], len(interpreter)))
    return _head(elf.machine, count) + b"".join(map(_segment, segments)) + bytes(body)


def _head(machine: str, count: int) -> bytes:
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    return struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 3, _MACHINES[machine], 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0
    )


def _segment(of: tuple[int, int, int, int]) -> bytes:
    kind, offset, address, size = of
    return struct.pack("<IIQQQQQQ", kind, 4, offset, address, address, size, size, 8)


def _requires(elf: Elf, strings: _Strings) -> bytes:
    out = bytearray()
    for number, (library, versions) in enumerate(elf.requires):
        last = number == len(elf.requires) - 1
        size = 16 * (1 + len(versions))
        out += struct.pack("<HHIII", 1, len(versions), strings.add(library), 16, 0 if last else size)
        for place, version in enumerate(versions):
            following = 0 if place == len(versions) - 1 else 16
            out += struct.pack("<IHHII", 0, 0, 2, strings.add(version), following)
    return bytes(out)


def _defines(elf: Elf, strings: _Strings) -> bytes:
    if not elf.defines:
        return b""
    out = bytearray()
    names = [("itself", 1), *((name, 0) for name in elf.defines)]
    for number, (name, flags) in enumerate(names):
        following = 0 if number == len(names) - 1 else 28
        out += struct.pack("<HHHHIII", 1, flags, number + 1, 1, 0, 20, following)
        out += struct.pack("<II", strings.add(name), 0)
    return bytes(out)
