"""The loader's cache: which library lies where, as /etc/ld.so.cache says. Pure."""

from __future__ import annotations

import struct
from typing import Final

_MAGIC: Final = b"glibc-ld.so.cache1.1"
_HEADER: Final = struct.Struct("=20sIIBxxxI12x")
_ENTRY: Final = struct.Struct("=iIIIQ")
# A library for glibc, with 64 bits, of this kind of machine.
_FLAGS: Final = {"x86_64": 0x0303, "aarch64": 0x0A03}


def libraries_in(cache: bytes, machine: str) -> dict[str, str]:
    """The path of each library by its name, the one that is preferred where there are several.

    machine: as `uname -m` says. Empty for what is no cache, or is cut off.
    """
    # Old caches have another table before this one, and offsets count from where this one begins.
    start = cache.find(_MAGIC)
    wanted = _FLAGS.get(machine)
    if start < 0 or wanted is None:
        return {}
    table = cache[start:]
    found: dict[str, str] = {}
    try:
        _magic, count, *_ = _HEADER.unpack_from(table)
        for number in range(count):
            flags, key, value, *_ = _ENTRY.unpack_from(table, _HEADER.size + number * _ENTRY.size)
            if flags == wanted:
                found.setdefault(_string(table, key), _string(table, value))
    except (struct.error, ValueError):
        return {}
    return found


def _string(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode("utf-8", "surrogateescape")
