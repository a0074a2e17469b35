"""Checkout: a tree rendered into a directory, for use as a read-only layer of an overlay."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from squall import faults
from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest, is_digest, parse_digest
from squall.blobs.render import Renderer
from squall.blobs.sweep import Copy
from squall.blobs.threads import on_disk
from squall.blobs.tree import Entry, File, Tree, decode_tree
from squall.model.errors import BlobCorrupt, StoreClosed

P = ParamSpec("P")
T = TypeVar("T")

_STAGING: Final = "staging"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_BATCH_FILES: Final = 64
_BATCH_BYTES: Final = 8 << 20

_RENDERED = faults.declare(
    "checkout.rendered", "the tree is whole in the staging directory, without its name"
)


class Checkouts:
    """Checkouts below `root`, a directory for each tree, named by its digest.

    They can be made again from the blobs, so nothing is forced to disk: each start of the machine has its own
    directory of them, because what was not forced is not trusted after another one. Rendered beside and renamed,
    so a name stands for a whole tree. Made by `open`; clock: seconds since 1970.
    """

    def __init__(self, root: Path, blobs: BlobStore, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._blobs = blobs
        self._clock = clock
        self._boot = root
        self._busy: dict[Digest, asyncio.Lock] = {}
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="checkout")
        self._closed = False

    @classmethod
    async def open(cls, root: Path, blobs: BlobStore, clock: Callable[[], float] = time.time) -> Checkouts:
        """The checkouts in this directory, which is made; those from before the machine's last start go."""
        checkouts = cls(root, blobs, clock)
        try:
            await checkouts._away(checkouts._prepare)
        except BaseException:
            await checkouts.close()
            raise
        return checkouts

    async def checkout(self, tree: Digest) -> Path:
        """The directory with this tree in it, rendered unless it was before; it counts as used now.

        Directories and files can be written by everybody (0777, and 0666 with the x bit where it was): the root of
        any container must be able to copy them up, and nobody else reaches a directory below the state directory.
        Raises BlobMissing, BlobCorrupt, TreeInvalid, DiskFull.
        """
        final = self._path(tree)
        lock = self._busy.setdefault(tree, asyncio.Lock())
        try:
            async with lock:
                if not await self._away(self._used, final):
                    await self._render(decode_tree(await self._blobs.get(tree)), final)
        finally:
            if not lock.locked() and self._busy.get(tree) is lock:
                del self._busy[tree]
        return final

    async def copies(self) -> tuple[Copy, ...]:
        """Every checkout with its size in bytes and when it was asked for last, for `sweep.evicted`."""
        return await self._away(self._copies)

    async def remove(self, tree: Digest) -> bool:
        """Removes a checkout; whether it was there. The caller knows that no container has it mounted."""
        return await self._away(self._remove, self._path(tree))

    async def close(self) -> None:
        self._closed = True
        self._threads.shutdown(wait=False)

    async def _render(self, tree: Tree, final: Path) -> None:
        staging = self._root / _STAGING / secrets.token_hex(16)
        renderer = Renderer(staging)
        try:
            await self._away(renderer.open)
            async for entries, contents in self._filled(tree):
                await self._away(renderer.add, entries, contents)
            for large in _large(tree):
                await self._copy_large(renderer, large)
            await self._away(renderer.close)
            faults.point(_RENDERED)
            await self._away(self._name, staging, final)
        finally:
            if not self._closed:
                await self._away(_discard, renderer)

    async def _filled(self, tree: Tree) -> AsyncIterator[tuple[list[Entry], dict[str, bytes]]]:
        """All entries but the large files, in runs small enough to hold, with the files' bytes."""
        for entries in _batches(tree):
            files = [entry for entry in entries if isinstance(entry, File)]
            found = await self._blobs.get_many({entry.digest for entry in files})
            for entry in files:
                _expect(entry, len(found[entry.digest]))
            yield entries, {entry.path: found[entry.digest] for entry in files}

    async def _copy_large(self, renderer: Renderer, entry: File) -> None:
        await self._away(renderer.begin, entry)
        size = 0
        async for part in self._blobs.stream(entry.digest):
            size += len(part)
            await self._away(renderer.write, part)
        _expect(entry, size)
        await self._away(renderer.finish, entry)

    async def _away(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The one place from which checkouts leave for a thread."""
        if self._closed:
            raise StoreClosed
        return await on_disk(self._threads, self._root, lambda: work(*args, **kwargs))

    # Everything below runs in a thread.

    def _prepare(self) -> None:
        boot = _BOOT.read_text().strip()
        self._boot = self._root / boot
        for directory in (self._root, self._root / _STAGING, self._boot):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Where all of them are shown together, a container's own ids find those that they know the names of.
        self._boot.chmod(0o711)
        for old in self._root.iterdir():
            if old.name not in {_STAGING, boot}:
                shutil.rmtree(old, ignore_errors=True)
        for left in (self._root / _STAGING).iterdir():
            if self._clock() - left.lstat().st_mtime > 86_400.0:
                shutil.rmtree(left, ignore_errors=True)

    def _used(self, final: Path) -> bool:
        try:
            os.utime(final, (self._clock(), self._clock()), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _name(self, staging: Path, final: Path) -> None:
        try:
            os.rename(staging, final)
        except OSError:
            # Another process was first: its directory is as good, and a full one is never replaced.
            if not final.is_dir():
                raise

    def _copies(self) -> tuple[Copy, ...]:
        found: list[Copy] = []
        for entry in os.scandir(self._boot):
            if is_digest(entry.name):
                used_s = entry.stat(follow_symlinks=False).st_mtime
                found.append(Copy(key=entry.name, size=_size_below(entry.path), used_s=used_s))
        return tuple(found)

    def _remove(self, final: Path) -> bool:
        going = self._root / _STAGING / secrets.token_hex(16)
        try:
            os.rename(final, going)  # away from its name at once: nobody is given half a tree
        except FileNotFoundError:
            return False
        shutil.rmtree(going, ignore_errors=True)
        return True

    def _path(self, tree: Digest) -> Path:
        return self._boot / parse_digest(tree)


def _expect(entry: File, size: int) -> None:
    if size != entry.size:
        raise BlobCorrupt(
            f"{entry.path!r} is said to have {entry.size} bytes, and its blob has {size}", digest=entry.digest
        )


def _large(tree: Tree) -> Iterator[File]:
    for entry in tree.entries:
        if isinstance(entry, File) and entry.size > _BATCH_BYTES:
            yield entry


def _batches(tree: Tree) -> Iterator[list[Entry]]:
    entries: list[Entry] = []
    held = 0
    for entry in tree.entries:
        size = entry.size if isinstance(entry, File) else 0
        if size > _BATCH_BYTES:
            continue
        if entries and (held + size > _BATCH_BYTES or len(entries) >= _BATCH_FILES):
            yield entries
            entries, held = [], 0
        entries.append(entry)
        held += size
    if entries:
        yield entries


def _discard(renderer: Renderer) -> None:
    renderer.close()
    shutil.rmtree(renderer.root, ignore_errors=True)


def _size_below(path: str) -> int:
    total = 0
    for directory, _, files in os.walk(path):
        total += sum(os.lstat(os.path.join(directory, name)).st_size for name in files)
    return total
