"""The sealed file: a large value in memory that can be handed to another process and changed by none."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections.abc import Sequence
from typing import Any, Final

from squall.model.errors import DeserializationError, SharedMemoryTooSmall
from squall.wire.codec import Buffer, length
from squall.wire.rights import MOST_BUFFERS, after

if sys.platform != "win32":  # the sdk is imported there too; its values travel unsealed
    import fcntl

# Values of linux/fcntl.h; the module has them by name on Linux alone.
_ADD_SEALS: Final = 1033
_GET_SEALS: Final = 1034
_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write

# A read or write moves at most this much at once, whatever is asked.
_MOST_AT_ONCE: Final = 0x7FFFF000
_NO_ROOM: Final = frozenset({errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def seal(buffers: Sequence[Buffer]) -> int:
    """A descriptor, the caller's, of a file that holds `buffers` one after another and can never change.

    Where the machine refuses such memory, it is an unlinked temporary file without seals, which readers copy.
    Raises SharedMemoryTooSmall when there is no room for either.
    """
    make = getattr(os, "memfd_create", None)
    if make is not None:
        try:
            fd = make("squall-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            pass  # no such call here, or refused: the temporary file does it
        else:
            try:
                write_all(fd, buffers)
                fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
            except OSError:
                os.close(fd)
            else:
                return int(fd)
    return spill(buffers)


def empty() -> int:
    """A descriptor, the caller's, of an empty file for `write_all` and then `fixed`; in memory where there are such.

    Raises OSError.
    """
    make = getattr(os, "memfd_create", None)
    if make is not None:
        try:
            return int(make("squall-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                raise
    return spill([])


def fixed(fd: int) -> None:
    """Seal the file behind `fd`, as far as this machine can."""
    try:
        fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
    except OSError:
        pass  # a kind of file that has no seals: readers copy it


def read_sealed(fd: int, size: int) -> memoryview:
    """The `size` bytes of the file behind `fd`, which stays the caller's: writable, private, gone with the last view.

    Nothing is copied until it is written to, if the file is sealed; a file that another process could still change is
    copied. Raises DeserializationError when it is not of that size.
    """
    check(fd, size)
    if not size:
        return memoryview(bytearray())
    if is_sealed(fd):
        # What is mapped keeps the file; from 3.13 on the map need not keep a descriptor as well.
        options: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
        mapped = mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE, **options)
        return memoryview(mapped)
    copy = memoryview(mmap.mmap(-1, size))
    done = 0
    while done < size:
        count = os.preadv(fd, [copy[done : done + _MOST_AT_ONCE]], done)
        if not count:
            raise DeserializationError(f"a value of {size} bytes ended after {done} of them")
        done += count
    return copy


def read_piece(fd: int, start: int, size: int) -> bytes | None:
    """`size` bytes from `start` on as one bytes object, None when they are more than one read gives."""
    if size > _MOST_AT_ONCE:
        return None
    piece = os.pread(fd, size, start)
    return piece if len(piece) == size else None


def check(fd: int, size: int) -> None:
    """Raises DeserializationError unless `fd` is an ordinary file of `size` bytes."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise DeserializationError("the descriptor that came with a value is no file")
    if found.st_size != size:
        raise DeserializationError(f"a value of {size} bytes came in a file of {found.st_size}")


def is_sealed(fd: int) -> bool:
    """Whether nobody can change or cut the file behind `fd` any more."""
    try:
        return fcntl.fcntl(fd, _GET_SEALS) & _SEALS == _SEALS
    except OSError:
        return False  # a kind of file that has no seals


def spill(buffers: Sequence[Buffer], folder: str | None = None) -> int:
    """Like `seal`, where memory cannot be had: a file without a name in `folder`, the temporary directory by default."""
    import tempfile

    try:
        with tempfile.TemporaryFile(prefix="squall-value-", buffering=0, dir=folder) as file:
            write_all(file.fileno(), buffers)
            return os.dup(file.fileno())
    except OSError as error:
        if error.errno in _NO_ROOM:
            size = sum(map(length, buffers))
            raise SharedMemoryTooSmall(
                f"there is no room for a value of {size} bytes, neither in memory nor in {folder or tempfile.gettempdir()}"
            ) from error
        raise


def write_all(fd: int, buffers: Sequence[Buffer]) -> None:
    """Write all of `buffers`, one after another. Raises OSError."""
    left = [buffer for buffer in buffers if length(buffer)]
    while left:
        written = os.writev(fd, left[:MOST_BUFFERS])
        left = after(left, written)
