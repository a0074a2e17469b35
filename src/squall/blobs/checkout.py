"""Checkout: what a manifest says, rendered into a directory once, for use as a read-only layer of an overlay."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from squall import faults
from squall.blobs.digest import Digest, is_digest, parse_digest
from squall.blobs.remove import remove_tree
from squall.blobs.renderer import Renderer
from squall.blobs.sweep import Copy
from squall.blobs.threads import on_disk
from squall.model.errors import StoreClosed

P = ParamSpec("P")
T = TypeVar("T")

_STAGING: Final = "staging"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")

_RENDERED = faults.declare("checkout.rendered", "it is whole in the staging directory, without its name")


class Checkouts:
    """Checkouts below `root`, a directory for each manifest, named by its digest.

    They can be made again from the blobs, so nothing is forced to disk: each start of the machine has its own
    directory of them, because what was not forced is not trusted after another one. Rendered beside and renamed,
    so a name stands for a whole one. Made by `open`; clock: seconds since 1970; remove: takes away a directory that the renderer
    made, or began.
    """

    def __init__(
        self,
        root: Path,
        renderer: Renderer,
        clock: Callable[[], float] = time.time,
        remove: Callable[[Path], None] = remove_tree,
    ) -> None:
        self._root = root
        self._renderer = renderer
        self._remove_tree = remove
        self._clock = clock
        self._boot = root
        self._busy: dict[Digest, tuple[asyncio.Lock, int]] = {}
        self._sizes: dict[str, int] = {}
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="checkout")
        self._closed = False

    @classmethod
    async def open(
        cls,
        root: Path,
        renderer: Renderer,
        clock: Callable[[], float] = time.time,
        remove: Callable[[Path], None] = remove_tree,
    ) -> Checkouts:
        """The checkouts in this directory, which is made; those from before the machine's last start go."""
        checkouts = cls(root, renderer, clock, remove)
        try:
            await checkouts._away(checkouts._prepare)
        except BaseException:
            await checkouts.close()
            raise
        return checkouts

    async def checkout(self, manifest: Digest) -> Path:
        """The directory with all this in it, rendered unless it was before; it counts as used now.

        Raises BlobMissing, BlobCorrupt, TreeInvalid, DiskFull.
        """
        final = self._path(manifest)
        async with self._alone(manifest):
            if not await self._away(self._used, final):
                await self._render(manifest, final)
                # It has the time that the manifest says until then.
                await self._away(self._used, final)
        return final

    async def copies(self) -> tuple[Copy, ...]:
        """Every checkout with its size in bytes and when it was asked for last, for `sweep.evicted`."""
        return await self._away(self._copies)

    async def remove(self, manifest: Digest, *, before_s: float | None = None) -> bool:
        """Removes a checkout; whether it was there. The caller knows that no container has it mounted.

        before_s: it stays if it was asked for at or after this instant.
        """
        async with self._alone(manifest):
            return await self._away(self._remove, self._path(manifest), before_s)

    async def close(self) -> None:
        self._closed = True
        self._threads.shutdown(wait=False)

    @contextlib.asynccontextmanager
    async def _alone(self, manifest: Digest) -> AsyncIterator[None]:
        lock, users = self._busy.get(manifest, (asyncio.Lock(), 0))
        self._busy[manifest] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._busy.pop(manifest)
            if users > 1:
                self._busy[manifest] = lock, users - 1

    async def _render(self, manifest: Digest, final: Path) -> None:
        staging = self._root / _STAGING / secrets.token_hex(16)
        try:
            await self._renderer.render(manifest, staging)
            faults.point(_RENDERED)
            await self._away(self._name, staging, final)
        finally:
            if not self._closed:
                await self._away(self._remove_tree, staging)

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
                self._try_to_remove(old)
        for left in (self._root / _STAGING).iterdir():
            if self._clock() - left.lstat().st_mtime > 86_400.0:
                self._try_to_remove(left)

    def _try_to_remove(self, directory: Path) -> None:
        with contextlib.suppress(OSError):
            self._remove_tree(directory)

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
                # Nobody writes into it: looked through once.
                size = self._sizes.setdefault(entry.name, -1)
                if size < 0:
                    size = self._sizes[entry.name] = _size_below(entry.path)
                found.append(Copy(key=entry.name, size=size, used_s=used_s))
        return tuple(found)

    def _remove(self, final: Path, before_s: float | None) -> bool:
        going = self._root / _STAGING / secrets.token_hex(16)
        try:
            if before_s is not None and final.lstat().st_mtime >= before_s:
                return False
            self._sizes.pop(final.name, None)
            os.rename(final, going)  # away from its name at once: nobody is given half of it
        except FileNotFoundError:
            return False
        self._remove_tree(going)
        return True

    def _path(self, manifest: Digest) -> Path:
        return self._boot / parse_digest(manifest)


def _size_below(path: str) -> int:
    total = 0
    for directory, _, files in os.walk(path):
        total += sum(os.lstat(os.path.join(directory, name)).st_size for name in files)
    return total
