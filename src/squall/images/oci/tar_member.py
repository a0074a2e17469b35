"""Tar member: one entry of an archive as data, whichever way the archive wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

BLOCK: Final = 512  # an archive is made of blocks of so many bytes

XATTR_KEY: Final = b"SCHILY.xattr."  # what the names of extended attributes have before them in PAX records


class Kind(Enum):
    """What an entry is, by its letter in the archive."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER_DEVICE = b"3"
    BLOCK_DEVICE = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry, as the archive says it: nothing of it was checked but that it is said in full.

    name and target are bytes as written, with whatever an attacker likes in them. mode: the twelve bits. size: the
    bytes that follow, of files only. xattrs: as written, in their order.
    """

    kind: Kind
    name: bytes
    target: bytes = b""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


def shown(name: bytes) -> str:
    """A name for a message: short, and with nothing in it that a terminal obeys."""
    return repr(name[:200].decode("utf-8", "surrogateescape"))


def padding(size: int) -> int:
    """The bytes that fill the last block after so many."""
    return -size % BLOCK
