"""The lent file: memory that holds one large value after another, for a reader that says when it has let go of it.

A fresh file costs a page of new memory for every 4 KiB; filling one again costs the copy alone. Its writer keeps the
one writable map that was made before the seals, so it can change what it has lent: the reader must be code that the
writer may run anyway, as a function's is. Everybody else gets a file that nobody can change (`squall.wire.sealed`).
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

from squall.model.errors import DeserializationError
from squall.wire.codec import Buffer, length
from squall.wire.sealed import write_all

if sys.platform != "win32":
    import fcntl

# Values of linux/fcntl.h; the module has them by name on Linux alone.
_ADD_SEALS: Final = 1033
_GET_SEALS: Final = 1034
_FIXED: Final = 0x1 | 0x2 | 0x4  # seal, shrink, grow: a reader of the map never meets its end
_WRITE: Final = 0x8
_FUTURE_WRITE: Final = 0x10  # no other map or write than those that are there

# A file that is much larger than the value would keep memory that nobody uses.
_ROOM: Final = 1.25
_PIECE: Final = 64 * 1024 * 1024
_FORKS: Final = [0]


class LentFile:
    """One file in memory, with the only map that can write to it. fd, size: the file's, closed by `close`."""

    __slots__ = ("_map", "fd", "size")

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        """Raises OSError where the machine has no such files, or no room; nothing is left open then."""
        make = getattr(os, "memfd_create", None)
        if make is None:
            raise OSError("this machine has no files in memory")
        self.size = sum(map(length, buffers))
        self.fd = int(make("squall-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        try:
            # By writing, not through the map: where there is no room, that is an error and no signal.
            write_all(self.fd, buffers)
            self._map = mmap.mmap(self.fd, self.size)
            fcntl.fcntl(self.fd, _ADD_SEALS, _FIXED | _FUTURE_WRITE)
        except BaseException:
            os.close(self.fd)
            raise

    def fill(self, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, at most `size` bytes, in place of what it held."""
        at = 0
        with memoryview(self._map) as room:
            for buffer in buffers:
                with memoryview(buffer).cast("B") as data:
                    # In pieces: between them other threads get their turn.
                    for start in range(0, data.nbytes, _PIECE):
                        piece = data[start : start + _PIECE]
                        room[at : at + piece.nbytes] = piece
                        at += piece.nbytes

    def close(self) -> None:
        """Let go of it; a reader keeps what it has mapped."""
        os.close(self.fd)
        self._map.close()


class LentFiles:
    """Files to be filled again, each for the owner (a function's id) that it was made for; from any thread.

    most_bytes: what those that lie here may have together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._lock = threading.Lock()
        self._idle: list[tuple[float, str, LentFile]] = []

    def lend(self, owner: str, buffers: Sequence[Buffer]) -> LentFile | None:
        """A file with `buffers`; None where there can be none, or the value is too large to be kept here."""
        size = sum(map(length, buffers))
        if size > self._most:
            return None
        file = self._take(owner, size)
        if file is not None:
            file.fill(buffers)
            return file
        try:
            return LentFile(buffers)
        except OSError:
            return None

    def give_back(self, owner: str, file: LentFile, *, now_s: float) -> None:
        """Its reader has let go of it: it may be filled again for the same owner."""
        with self._lock:
            self._idle.append((now_s, owner, file))
            over: list[LentFile] = []
            while sum(one.size for _, _, one in self._idle) > self._most:
                over.append(self._idle.pop(0)[2])
        for one in over:
            one.close()

    def drop_idle(self, *, since_s: float) -> bool:
        """Close those that nobody has wanted since then. Whether others are left."""
        with self._lock:
            old = [one for given_s, _, one in self._idle if given_s <= since_s]
            self._idle = [kept for kept in self._idle if kept[0] > since_s]
            left = bool(self._idle)
        for one in old:
            one.close()
        return left

    def _take(self, owner: str, size: int) -> LentFile | None:
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                _, whose, file = self._idle[place]
                if whose == owner and size <= file.size <= size * _ROOM:
                    del self._idle[place]
                    return file
        return None


class Borrowed:
    """The reader's hold on the lent file whose value is in hand; one at a time.

    A map that nobody wrote to is kept for the next value in the same file: the pages need not be found again.
    """

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None
        self._file = (0, 0, 0)
        self._place = 0
        self._forks = 0

    def read(self, fd: int, size: int) -> memoryview:
        """The first `size` bytes of the file behind `fd`, writable and private; `fd` stays the caller's.

        Raises DeserializationError when it is no file of that length whose length is fixed and that others cannot write.
        """
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or not 0 < size <= found.st_size:
            self.drop()
            raise DeserializationError(f"a value of {size} bytes came in a file of {found.st_size}")
        file = (found.st_dev, found.st_ino, found.st_size)
        self._forks = _FORKS[0]
        if self._map is None or self._file != file or not self.is_free:
            self.drop()
            if not _is_fixed(fd):
                raise DeserializationError("a lent value came in a file that is not sealed")
            options: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
            prot = mmap.PROT_READ | mmap.PROT_WRITE
            self._map = mmap.mmap(fd, found.st_size, flags=mmap.MAP_PRIVATE, prot=prot, **options)
            self._file, self._place = file, 0
        return memoryview(self._map)[:size]

    @property
    def is_free(self) -> bool:
        """Whether nothing reads the file any more: no view is left, and no fork was made that could have one."""
        if self._map is None or self._forks != _FORKS[0]:
            return False
        try:
            # No size at all: refused as held while there are views, and as nonsense when there are none.
            self._map.resize(-1)
        except ValueError:
            return True
        except (BufferError, OSError, SystemError):
            return False
        return False

    @property
    def is_kept(self) -> bool:
        """Whether a map is kept here."""
        return self._map is not None

    def settle(self) -> None:
        """The value is done with: keep the map for the next one if every page of it is still the file's."""
        if self._map is None:
            return
        try:
            if self.is_free and self._is_untouched():
                return
        except OSError:
            pass  # no such files in this /proc: as if it were touched
        self.drop()

    def drop(self) -> None:
        """Let go of the map: it ends now, or with the last view."""
        held, self._map = self._map, None
        if held is not None:
            try:
                held.close()
            except BufferError:
                return

    def _is_untouched(self) -> bool:
        """Whether no page became this process's own by writing to it."""
        device, inode, size = self._file
        self._place = self._place or _place_of(device, inode, size)
        if not self._place:
            return False
        page = mmap.PAGESIZE
        left = (size + page - 1) // page * _ENTRY
        with open("/proc/self/pagemap", "rb", buffering=0) as pages:
            pages.seek(self._place // page * _ENTRY)
            while left:
                entries = pages.read(min(left, _PIECE // 64))
                if not entries or any(_is_own(top) for top in set(entries[_ENTRY - 1 :: _ENTRY])):
                    return False
                left -= len(entries)
        return True


# One number a page in /proc/self/pagemap; its highest byte says whether the page is there, swapped, and a file's.
_ENTRY: Final = 8
_THERE: Final = 0x80
_SWAPPED: Final = 0x40
_OF_FILE: Final = 0x20


def _is_own(top: int) -> bool:
    return bool(top & _SWAPPED) or top & (_THERE | _OF_FILE) == _THERE


def _place_of(device: int, inode: int, size: int) -> int:
    """Where the one private map of a file begins; 0 where there is none, or it was cut."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x} {inode} "
    with open("/proc/self/maps") as maps:
        found = [line.partition(" ")[0] for line in maps if wanted in line and "p " in line[:48]]
    for span in found if len(found) == 1 else ():
        start, _, stop = span.partition("-")
        if int(stop, 16) - int(start, 16) >= size:
            return int(start, 16)
    return 0


def _is_fixed(fd: int) -> bool:
    try:
        held = fcntl.fcntl(fd, _GET_SEALS)
    except OSError:
        return False
    # A value that was carried to where no descriptor reaches lies in a file that nobody at all can write to.
    return held & _FIXED == _FIXED and bool(held & (_WRITE | _FUTURE_WRITE))


def _count_fork() -> None:
    _FORKS[0] += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_count_fork)
