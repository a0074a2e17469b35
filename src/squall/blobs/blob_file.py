"""Blob file: the system calls with which one blob is written, named, looked at and read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from squall.blobs.blob_store import PART_BYTES
from squall.blobs.digest import Bytes, Digester


@dataclass(frozen=True, slots=True)
class Seen:
    """What tells a file that was verified from another one: inode, size, and its time in nanoseconds."""

    inode: int
    size: int
    mtime_ns: int


def look(fd: int) -> Seen:
    """What this file is now."""
    found = os.fstat(fd)
    return Seen(found.st_ino, found.st_size, found.st_mtime_ns)


def open_blob(path: Path) -> int:
    """A descriptor for reading; never that of a link's target. Raises FileNotFoundError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def fill(fd: int, digester: Digester, part: Bytes) -> None:
    """Writes all of `part`, and adds it to its digest."""
    digester.update(memoryview(part).cast("B"))
    write_all(fd, part)


def write_all(fd: int, part: Bytes) -> None:
    """Writes all of `part`, however little the kernel takes at once."""
    rest = memoryview(part).cast("B")
    while rest:
        rest = rest[os.write(fd, rest) :]


def settle(temporary: Path, final: Path) -> None:
    """Gives a file its name, in a directory that is made where it is missing."""
    try:
        os.rename(temporary, final)
    except FileNotFoundError:
        final.parent.mkdir(mode=0o700, exist_ok=True)
        os.rename(temporary, final)


def read_range(fd: int, start: int, stop: int | None) -> bytes:
    """The bytes from start to stop, or to the end."""
    end = os.fstat(fd).st_size if stop is None else min(stop, os.fstat(fd).st_size)
    parts: list[bytes] = []
    while start < end and (part := os.pread(fd, min(end - start, 64 * PART_BYTES), start)):
        start += len(part)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def force(directory: Path) -> None:
    """Forces the names in a directory to disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
