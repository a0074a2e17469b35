"""Walk: what a directory holds, looked at by descriptors and read in the order of its paths."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    Fifo,
    Hardlink,
    Symlink,
    Whiteout,
)
from squall.blobs.overlay_notes import OPAQUE, Notes, is_overlay_note
from squall.blobs.owners import Owners
from squall.blobs.path_names import encoded, names_in
from squall.model.errors import TreeInvalid

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
)  # a FIFO put in its place never holds us up
_OTHER_BY_NOW: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EINVAL})
_TRIES: Final = 3
_TAKEN_BYTES: Final = 8 << 20
_TAKEN_ITEMS: Final = 512

# The rest, such as the labels of SELinux, is about this machine.
_KEPT_XATTRS: Final = ("user.", "trusted.")
_KEPT_XATTRS_BY_NAME: Final = frozenset(
    {"security.capability", "system.posix_acl_access", "system.posix_acl_default"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a directory is looked at.

    notes: it is the upper directory of an overlay that keeps its notes there; None: a directory like any other.
    clamp_mtime_s: no later change is told, in seconds since 1970. owners: of whom it is told as the container calls them;
    None: ids are told as they are.
    """

    notes: Notes | None = None
    clamp_mtime_s: int | None = None
    owners: Owners | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """What came of the file that is being read does not count: it changed meanwhile, and comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The end of a file, whose bytes came before."""

    path: str
    attributes: Attributes
    size: int


# bytes: the next CHUNK_BYTES of a file, or its last ones
Found = Entry | bytes | Again | Read


class Walking(Protocol):
    """What is found in a directory, as a Walk gives it."""

    @property
    def changed(self) -> list[str]: ...

    @property
    def left_out(self) -> list[str]: ...

    def take(self) -> list[Found]: ...

    def close(self) -> None: ...


class Walk:
    """Goes through the directory `root`, one name at a time and never through a link. One thread at a time.

    changed: the paths that were written, replaced or removed while they were read, each read three times: what is told
    of them may be neither what was before nor what came after. left_out: the sockets, which are nothing without
    their process.
    """

    def __init__(self, root: Path, how: How) -> None:
        self.changed: list[str] = []
        self.left_out: list[str] = []
        self._how = how
        self._firsts: dict[tuple[int, int], str] = {}
        self._found = self._all(root)

    def take(self) -> list[Found]:
        """The next things found, about 8 MiB of them; none at the end. Raises TreeInvalid for what nothing can keep."""
        taken: list[Found] = []
        held = 0
        for found in self._found:
            taken.append(found)
            held += len(found) if isinstance(found, bytes) else 0
            if held >= _TAKEN_BYTES or len(taken) >= _TAKEN_ITEMS:
                break
        return taken

    def close(self) -> None:
        """Closes every descriptor; a second time does nothing."""
        self._found.close()

    def _all(self, root: Path) -> Generator[Found, None, None]:
        try:
            yield from self._directory(os.open(root, _DIRECTORY), ROOT)
        except PermissionError as error:
            raise TreeInvalid(f"{str(root)!r} cannot be read: {error.strerror}", path=str(root)) from error

    def _directory(self, fd: int, path: str) -> Iterator[Found]:
        """The directory of this descriptor, which is closed, and all in it."""
        try:
            xattrs = self._xattrs(fd, path)
            opaque = self._is_opaque(path, xattrs)
            attributes = self._attributes(os.fstat(fd), xattrs, path)
            yield Directory(path=path, attributes=attributes, opaque=opaque)
            yield from self._inside(fd, path)
        finally:
            os.close(fd)

    def _is_opaque(self, _path: str, xattrs: dict[str, bytes]) -> bool:
        return self._how.notes is not None and xattrs.get(self._how.notes.opaque) == OPAQUE

    def _inside(self, fd: int, path: str) -> Iterator[Found]:
        """All that the directory of this path holds, in its order."""
        for name in sorted(map(os.fsencode, os.listdir(fd))):
            yield from self._within(fd, name, path)

    def _within(self, fd: int, name: bytes, above: str) -> Iterator[Found]:
        path = name.decode("utf-8", "surrogateescape")
        path = f"{above}/{path}" if above else path
        for _ in range(_TRIES):
            try:
                yield from self._one(fd, name, path)
            except PermissionError as error:
                raise TreeInvalid(f"{path!r} cannot be read: {error.strerror}", path=path) from error
            except OSError as error:
                # None of these comes once something was given.
                if error.errno not in _OTHER_BY_NOW:
                    raise
            else:
                return
        self.changed.append(path)

    def _one(self, fd: int, name: bytes, path: str) -> Iterator[Found]:
        seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(seen.st_mode):
            names_in(
                path
            )  # each level holds a descriptor: one that is too deep is refused before it is entered
            yield from self._directory(os.open(name, _DIRECTORY, dir_fd=fd), path)
        elif self._is_whiteout(seen, fd, name):
            yield Whiteout(path=path)
        elif stat.S_ISSOCK(seen.st_mode):
            self.left_out.append(path)
        elif first := self._firsts.get((seen.st_dev, seen.st_ino)):
            yield Hardlink(path=path, first=first)
        else:
            yield from self._inode(fd, name, path, seen)
            if seen.st_nlink > 1:
                self._firsts[seen.st_dev, seen.st_ino] = path

    def _inode(self, fd: int, name: bytes, path: str, seen: os.stat_result) -> Iterator[Found]:
        if stat.S_ISREG(seen.st_mode):
            file = os.open(name, _FILE, dir_fd=fd)
            try:
                now = os.fstat(file)
                if (now.st_dev, now.st_ino) != (seen.st_dev, seen.st_ino):
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
                yield from self._file(file, path)
            finally:
                os.close(file)
        elif stat.S_ISLNK(seen.st_mode):
            target = os.readlink(name, dir_fd=fd).decode("utf-8", "surrogateescape")
            attributes = self._attributes(seen, self._xattrs(_in_proc(fd, name), path), path)
            yield Symlink(path=path, attributes=attributes, target=target)
        elif stat.S_ISFIFO(seen.st_mode):
            attributes = self._attributes(seen, self._xattrs(_in_proc(fd, name), path), path)
            yield Fifo(path=path, attributes=attributes)
        else:
            raise TreeInvalid(f"{path!r} is a device, and leads out of every directory", path=path)

    def _file(self, fd: int, path: str) -> Iterator[Found]:
        for left in reversed(range(_TRIES)):
            before = os.fstat(fd)
            xattrs = self._xattrs(fd, path)
            size = 0
            while data := _read(fd, size, min(CHUNK_BYTES, before.st_size - size)):
                size += len(data)
                yield data
            if size == before.st_size and _stamp(os.fstat(fd)) == _stamp(before):
                break
            if left:
                yield Again()
            else:
                self.changed.append(path)
        yield Read(path=path, attributes=self._attributes(before, xattrs, path), size=size)

    def _attributes(self, seen: os.stat_result, xattrs: dict[str, bytes], path: str) -> Attributes:
        mtime_ns = seen.st_mtime_ns
        if self._how.clamp_mtime_s is not None:
            mtime_ns = min(mtime_ns, self._how.clamp_mtime_s * 1_000_000_000)
        names = [name for name in sorted(xattrs, key=encoded) if not is_overlay_note(name)]
        kept = tuple((name, xattrs[name]) for name in names)
        uid, gid = seen.st_uid, seen.st_gid
        if (owners := self._how.owners) is not None:
            uid, gid = owners.uid(uid, path), owners.gid(gid, path)
            kept = tuple((name, owners.xattr(name, value, path)) for name, value in kept)
        try:
            return Attributes(
                mode=stat.S_IMODE(seen.st_mode), uid=uid, gid=gid, mtime_ns=mtime_ns, xattrs=kept
            )
        except TreeInvalid as error:
            raise TreeInvalid(f"{path!r} cannot be kept: {error.message}", path=path) from error

    def _xattrs(self, target: int | bytes, path: str) -> dict[str, bytes]:
        """The attributes that are kept, with the overlay's notes. Raises TreeInvalid for notes that mean more."""
        found: dict[str, bytes] = {}
        for name in _listed(target):
            if is_overlay_note(name) and not (self._how.notes and self._how.notes.is_settled(name)):
                raise TreeInvalid(f"{path!r} has {name}: an overlay keeps a part of it elsewhere", path=path)
            if name.startswith(_KEPT_XATTRS) or name in _KEPT_XATTRS_BY_NAME:
                try:
                    found[name] = os.getxattr(target, name, follow_symlinks=isinstance(target, int))
                except OSError as error:
                    if error.errno != errno.ENODATA:  # it went meanwhile
                        raise
        return found

    def _is_whiteout(self, seen: os.stat_result, fd: int, name: bytes) -> bool:
        notes = self._how.notes
        if notes is None:
            return False
        if stat.S_ISCHR(seen.st_mode):
            return seen.st_rdev == 0
        empty = stat.S_ISREG(seen.st_mode) and seen.st_size == 0
        return empty and notes.whiteout in _listed(_in_proc(fd, name))


def _listed(target: int | bytes) -> list[str]:
    """The names of all extended attributes; none where the file system has no such thing."""
    try:
        return os.listxattr(target, follow_symlinks=isinstance(target, int))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def _in_proc(fd: int, name: bytes) -> bytes:
    """A path for the calls that take no descriptor of a directory: the link in it is that descriptor."""
    return b"/proc/self/fd/%d/%s" % (fd, name)


def _read(fd: int, start: int, length: int) -> bytes:
    """So many bytes, fewer at the end of the file only."""
    data = os.pread(fd, max(0, length), start)
    while 0 < len(data) < length and (more := os.pread(fd, length - len(data), start + len(data))):
        data += more
    return data


def _stamp(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
