"""Volume download: files of a volume written on this machine, each whole or not at all, and none outside the place that is named."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from squall.model.errors import InvalidError, VolumePathTaken
from squall.model.volume import ROOT, inner_path
from squall.sdk.volume import FileEntry, FileType, Volume
from squall.sdk.volume_upload import Sent

_AT_ONCE: Final = 8
_COMING: Final = ".squall-"


@dataclass(slots=True)
class Download:
    """What is at a path of a volume, written here. version: of an earlier one. force: files that are there are replaced.

    watch: told how far it is. left_out: pipes, which are not files.
    """

    volume: Volume
    path: str
    force: bool = False
    version: int | str | None = None
    watch: Callable[[Sent], None] = lambda _sent: None
    left_out: int = 0

    async def to(self, target: str) -> tuple[str, Sent]:
        """Writes it: a file at `target`, or in it where that is a directory; of a directory what is in it, likewise.

        Gives where it is now. Raises VolumePathNotFound, VolumePathTaken, InvalidError for what would lie elsewhere.
        """
        inner = inner_path(self.path)
        entries, base = await self._listed(inner)
        name = inner.rpartition("/")[2]
        if name and os.path.isdir(target):
            target = os.path.join(target, name)
        sent = Sent(
            files=sum(entry.type is FileType.FILE for entry in entries),
            bytes=sum(entry.size for entry in entries),
        )
        self.watch(sent)
        if base is not None:
            await self._tree(entries, base, target, sent)
        else:
            await self._file(entries[0], os.path.abspath(target), sent)
        return target, sent

    async def parts(self) -> AsyncIterator[bytes]:
        """The bytes of a file, for whoever writes them elsewhere."""
        async for part in self.volume._file_parts(self.path, version=self.version):
            yield part

    async def _listed(self, inner: str) -> tuple[list[FileEntry], str | None]:
        """What there is to write, all of one version; and the directory that it lies in, links followed, None of a file."""
        found: list[FileEntry] = []
        base: str | None = None
        async for page in self.volume._pages(inner, recursive=True, version=self.version):
            self.version, base = page.version, page.directory
            found += page.entries
        return found, base

    async def _tree(self, entries: list[FileEntry], base: str, target: str, sent: Sent) -> None:
        os.makedirs(target, exist_ok=True)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(entry: FileEntry, place: str) -> None:
            async with turns:
                await self._file(entry, place, sent)

        links: list[tuple[FileEntry, str]] = []
        async with asyncio.TaskGroup() as group:
            for entry in entries:
                place = place_inside(target, inner_path(entry.path.removeprefix(base)))
                if entry.type is FileType.DIRECTORY:
                    _directory(place, entry)
                elif entry.type is FileType.LINK:
                    links.append((entry, place))
                elif entry.type is FileType.FILE:
                    group.create_task(one(entry, place))
                else:
                    self.left_out += 1
        # Last, so that nothing is written through them.
        for entry, place in links:
            self._make_way(place)
            os.symlink(entry.target, place)

    async def _file(self, entry: FileEntry, place: str, sent: Sent) -> None:
        self._make_way(place)
        coming = os.path.join(os.path.dirname(place), f"{_COMING}{secrets.token_hex(8)}")
        try:
            with open(coming, "xb") as file:
                async for part in self.volume._file_parts(entry.path, version=self.version):
                    file.write(part)
                    sent.done_bytes += len(part)
                    self.watch(sent)
                os.fchmod(file.fileno(), stat.S_IMODE(entry.mode) & 0o777)
            os.utime(coming, (entry.mtime, entry.mtime))
            os.replace(coming, place)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(coming)

    def _make_way(self, place: str) -> None:
        """Raises VolumePathTaken where something is there that stays."""
        try:
            there = os.lstat(place)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(there.st_mode) or not self.force:
            what = "directory" if stat.S_ISDIR(there.st_mode) else "file"
            raise VolumePathTaken(
                f"there is a {what} at {place} already",
                remedy="choose another place, or overwrite files with `--force`",
                path=place,
            )
        if stat.S_ISLNK(there.st_mode):
            os.unlink(place)


def place_inside(target: str, inner: str) -> str:
    """The place of a path below `target`; what leads there are directories, no links. Raises InvalidError."""
    if inner == ROOT:
        raise InvalidError("the server names a file without a name")
    place = target
    *above, name = inner.split("/")
    for one in above:
        place = os.path.join(place, one)
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            raise InvalidError(
                f"{place} is no directory, and files would come into it",
                remedy="choose another place, or remove it",
            )
    return os.path.join(place, name)


def _directory(place: str, entry: FileEntry) -> None:
    try:
        os.mkdir(place)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            raise VolumePathTaken(
                f"there is a file at {place} already", remedy="choose another place, or remove it", path=place
            ) from None
    else:
        os.chmod(place, stat.S_IMODE(entry.mode) & 0o777 | 0o700)
