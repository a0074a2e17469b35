"""Directory writer: the entries of one manifest written below one directory, by steps that cannot leave it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, assert_never

from squall.blobs.digest import Bytes
from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    Fifo,
    File,
    Hardlink,
    Symlink,
    Whiteout,
    key,
)
from squall.blobs.overlay_notes import OPAQUE, Notes
from squall.blobs.path_names import encoded, names_in
from squall.model.errors import TreeInvalid
from squall.wire.rights import close_all

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FIFO: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_IDS: Final = stat.S_ISUID | stat.S_ISGID
_PRIVILEGED: Final = ("trusted.", "security.")


class DirectoryWriter:
    """Writes entries below `root`, which it makes, in the order of a manifest. One thread at a time.

    It goes from directory to directory by descriptors, one name at a time and never through a link: a manifest can
    name nothing outside, even if somebody plants links while it is written. A directory gets its attributes once all
    in it is there; until then only this user can enter. notes, owners: as DirectoryRenderer says.
    """

    def __init__(self, root: Path, *, notes: Notes | None, owners: bool) -> None:
        self.root = root
        self._notes = notes
        self._owners = owners
        self._names: list[bytes] = []
        self._fds: list[int] = []
        self._open: list[Directory] = []
        self._file = -1
        self._sparse = False
        self._made_by = (-1, -1)

    def open(self) -> None:
        """Makes the directory; it must not be there yet."""
        os.mkdir(self.root, 0o700)
        self._fds.append(os.open(self.root, _DIRECTORY))
        # Whose all is that is made below, until its directory gets its attributes: a group may come from above.
        seen = os.fstat(self._fds[0])
        self._made_by = (seen.st_uid, seen.st_gid)

    def add(self, entry: Entry) -> None:
        """Makes what the entry says; a file is begun, written and finished instead."""
        match entry:
            case File():
                self.begin(entry)
                self.finish(entry)
            case Directory():
                self._enter(entry)
            case Symlink():
                self._link(entry)
            case Hardlink():
                self._name_again(entry)
            case Fifo():
                self._make_fifo(entry)
            case Whiteout():
                if self._notes is not None:
                    fd, name = self._place(entry)
                    # The one device that any user may make: it opens nothing.
                    os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=fd)
            case _:
                assert_never(entry)

    def file(self, entry: File, data: Bytes) -> None:
        """Makes a file with all its bytes."""
        self.begin(entry)
        self.write(data)
        self.finish(entry)

    def begin(self, entry: File) -> None:
        """Makes an empty file, the one that `write` goes on with."""
        fd, name = self._place(entry)
        self._file = os.open(name, _NEW_FILE, 0o600, dir_fd=fd)
        self._sparse = False

    def write(self, part: Bytes) -> None:
        """Writes all of `part` at the end of the file that was begun."""
        rest = memoryview(part).cast("B")
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def skip(self, length: int) -> None:
        """Leaves a hole of so many bytes: they are zeros."""
        os.lseek(self._file, length, os.SEEK_CUR)
        self._sparse = True

    def finish(self, entry: File) -> None:
        """Ends the file that was begun, with its size and attributes."""
        file, self._file = self._file, -1
        try:
            if self._sparse:
                os.ftruncate(file, entry.size)
            self._settle(file, entry.attributes)
        finally:
            os.close(file)

    def end(self) -> None:
        """Nothing more comes: the directories get their attributes."""
        self._leave(to=0)

    def close(self) -> None:
        """Closes every descriptor; a second time does nothing."""
        close_all((*self._fds, *((self._file,) if self._file >= 0 else ())))
        self._fds, self._names, self._open, self._file = [], [], [], -1

    def _enter(self, entry: Directory) -> None:
        if entry.path != ROOT:
            fd, name = self._place(entry)
            os.mkdir(name, 0o700, dir_fd=fd)
            self._fds.append(os.open(name, _DIRECTORY, dir_fd=fd))
            self._names.append(name)
        self._open.append(entry)

    def _place(self, entry: Entry) -> tuple[int, bytes]:
        """The descriptor of the entry's directory, and its name there. Those that it is not in are done."""
        *above, name = key(entry)
        self._leave(to=len(above) + 1)
        if self._names != above or len(self._open) != len(self._fds):
            raise TreeInvalid(f"the directory of {entry.path!r} is not there", path=entry.path)
        return self._fds[-1], name

    def _leave(self, *, to: int) -> None:
        while len(self._open) > to:
            entry = self._open.pop()
            if entry.opaque and self._notes is not None:
                os.setxattr(self._fds[-1], self._notes.opaque, OPAQUE)
            self._settle(self._fds[-1], entry.attributes, directory=True)
            os.close(self._fds.pop())
            del self._names[max(0, len(self._open) - 1) :]

    def _settle(self, fd: int, kept: Attributes, *, directory: bool = False) -> None:
        """Gives what is open its attributes: the owner first, for that takes bits of the mode away; the time last."""
        mode = kept.mode
        if self._owners:
            if (kept.uid, kept.gid) != self._made_by:
                os.fchown(fd, kept.uid, kept.gid)
        elif mode & _SET_IDS and not directory:
            seen = os.fstat(fd)
            # Their meaning was to run as somebody else, and never as this user.
            mode &= 0o7777 if (seen.st_uid, seen.st_gid) == (kept.uid, kept.gid) else ~_SET_IDS
        if kept.xattrs:
            for name, value in self._allowed(kept):
                os.setxattr(fd, name, value)
        os.fchmod(fd, mode)
        os.utime(fd, ns=(kept.mtime_ns, kept.mtime_ns))

    def _link(self, entry: Symlink) -> None:
        fd, name = self._place(entry)
        kept = entry.attributes
        os.symlink(encoded(entry.target), name, dir_fd=fd)
        if self._owners and (kept.uid, kept.gid) != self._made_by:
            os.chown(name, kept.uid, kept.gid, dir_fd=fd, follow_symlinks=False)
        for xattr, value in self._allowed(kept):
            os.setxattr(b"/proc/self/fd/%d/%s" % (fd, name), xattr, value, follow_symlinks=False)
        os.utime(name, ns=(kept.mtime_ns, kept.mtime_ns), dir_fd=fd, follow_symlinks=False)

    def _make_fifo(self, entry: Fifo) -> None:
        fd, name = self._place(entry)
        os.mkfifo(name, 0o600, dir_fd=fd)
        fifo = os.open(name, _FIFO, dir_fd=fd)
        try:
            self._settle(fifo, entry.attributes)
        finally:
            os.close(fifo)

    def _name_again(self, entry: Hardlink) -> None:
        fd, name = self._place(entry)
        *above, first = names_in(entry.first)
        try:
            source = self._way(above)
            try:
                os.link(first, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
            finally:
                os.close(source)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise TreeInvalid(
                f"{entry.path!r} is another name of {entry.first!r}, which is none", path=entry.path
            ) from error

    def _way(self, names: Sequence[bytes]) -> int:
        """A new descriptor of a directory that was written."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(b".", flags, dir_fd=self._fds[0])
        for name in names:
            try:
                below = os.open(name, flags, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _allowed(self, kept: Attributes) -> list[tuple[str, bytes]]:
        return [pair for pair in kept.xattrs if self._owners or not pair[0].startswith(_PRIVILEGED)]
