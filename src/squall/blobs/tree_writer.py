"""Tree writer: one tree's entries written below one directory, by steps that cannot leave it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final, assert_never

from squall.blobs.digest import Bytes
from squall.blobs.tree import Directory, Entry, File, Link, names_in

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeWriter:
    """Writes entries below `root`, which it makes. One thread at a time.

    It goes from directory to directory by descriptors, one name at a time and never through a link: a tree can
    name nothing outside, even if somebody plants links while it is rendered.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: list[bytes] = []
        self._fds: list[int] = []
        self._file = -1

    def open(self) -> None:
        """Makes the directory; it must not be there yet."""
        os.mkdir(self.root, 0o700)
        self._fds.append(os.open(self.root, _DIRECTORY))
        os.fchmod(self._fds[0], 0o777)

    def add(self, entries: Sequence[Entry], contents: Mapping[str, Bytes]) -> None:
        """Writes entries, the files with these contents by path."""
        for entry in entries:
            match entry:
                case File():
                    self.begin(entry)
                    self.write(contents[entry.path])
                    self.finish(entry)
                case Link():
                    *parents, name = names_in(entry.path)
                    target = entry.target.encode("utf-8", "surrogateescape")
                    os.symlink(target, name, dir_fd=self._enter(parents))
                case Directory():
                    self._enter(names_in(entry.path))
                case _:
                    assert_never(entry)

    def begin(self, entry: File) -> None:
        """Makes an empty file, the one that `write` goes on with."""
        *parents, name = names_in(entry.path)
        self._file = os.open(name, _NEW_FILE, 0o600, dir_fd=self._enter(parents))

    def write(self, part: Bytes) -> None:
        """Writes all of `part` at the end of the file that was begun."""
        rest = memoryview(part).cast("B")
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def finish(self, entry: File) -> None:
        """Ends the file that was begun, with its mode."""
        file, self._file = self._file, -1
        try:
            os.fchmod(file, 0o777 if entry.executable else 0o666)
        finally:
            os.close(file)

    def close(self) -> None:
        """Closes every descriptor; a second time does nothing."""
        for fd in (*self._fds, *((self._file,) if self._file >= 0 else ())):
            os.close(fd)
        self._fds, self._names, self._file = [], [], -1

    def _enter(self, names: Sequence[bytes]) -> int:
        """The descriptor of a directory, which is made where it is missing, with all above it."""
        shared = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._names, names, strict=False))
        )
        while len(self._names) > shared:
            self._names.pop()
            os.close(self._fds.pop())
        for name in names[shared:]:
            try:
                os.mkdir(name, 0o700, dir_fd=self._fds[-1])
            except FileExistsError:
                pass
            fd = os.open(name, _DIRECTORY, dir_fd=self._fds[-1])
            self._fds.append(fd)
            self._names.append(name)
            os.fchmod(fd, 0o777)
        return self._fds[-1]
