"""Tree: a bucket's objects below a prefix as files and folders."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from squall.blobs.buckets.bucket import Bucket, Listing, Object
from squall.blobs.buckets.draft import Draft

FRESH_S: Final = 1.0
"""How long what was seen counts as what is there; changes made through this tree are seen at once."""
KEY_BYTES: Final = 1024  # the most that S3 allows
_REMEMBERED: Final = 100_000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Folder:
    """A prefix below which objects lie, or one that was made here and has none yet."""


Entry = Folder | Object


class Tree:
    """All paths are relative to the prefix, with one slash between two names: "" is the folder that it is.

    Folders are prefixes. Those without an object exist in this tree only: one that was made here, and one from which the
    last object was removed here, until it is removed itself. Where a key is both an object and a prefix, the folder shows.

    Raises OSError with the errno for what cannot be done, and the Bucket errors.
    """

    def __init__(self, bucket: Bucket, prefix: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._now_s = now_s
        self._made: dict[str, None] = {}
        self._removed: dict[str, None] = {}
        self._listings: dict[str, tuple[float, Listing]] = {}
        self._seen: dict[str, tuple[float, Entry | None]] = {}
        self._changes = 0

    @property
    def bucket(self) -> Bucket:
        """Where the objects lie."""
        return self._bucket

    def key(self, path: str) -> str:
        """The key of what lies at `path`."""
        return f"{self._root}{path}" if path else self._root.rstrip("/")

    def child(self, folder: str, name: bytes) -> str:
        """The path of a name in a folder. Raises OSError for a name that no key can have."""
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise OSError(errno.EILSEQ, "a key is UTF-8") from None
        if text in {"", ".", ".."} or "/" in text or any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise OSError(errno.EINVAL, "no key can have this name")
        path = f"{folder}/{text}" if folder else text
        if len(self.key(path).encode()) > KEY_BYTES:
            raise OSError(errno.ENAMETOOLONG, "a key has 1,024 bytes at most")
        return path

    async def look(self, path: str) -> Entry | None:
        """What lies there."""
        if not path:
            return Folder()
        folder, _, name = path.rpartition("/")
        listing = self._fresh(self._listings, folder)
        if listing is not None:
            gone = path in self._removed
            seen: Entry | None = (
                Folder() if name in listing.folders and not gone else listing.objects.get(name)
            )
            return self._or_made(path, seen)
        known = self._seen.get(path)
        if known is not None and known[0] > self._now_s():
            return self._or_made(path, known[1])
        changes = self._changes
        head, below = await asyncio.gather(
            self._bucket.head(self.key(path)), self._bucket.any_below(self.key(path))
        )
        found: Entry | None = Folder() if below else head
        if changes == self._changes:
            self._keep(self._seen, path, found)
        return self._or_made(path, found)

    async def entries(self, folder: str) -> dict[str, Entry]:
        """What lies directly in a folder, by name."""
        changes = self._changes
        listing = await self._bucket.listing(self.key(folder))
        if changes == self._changes:
            # Otherwise it may be from before a change, which was to be seen at once.
            self._keep(self._listings, folder, listing)
        start = f"{folder}/" if folder else ""
        found: dict[str, Entry] = dict(listing.objects)
        for name in listing.folders:
            path = f"{start}{name}"
            # Some services go on listing a prefix below which nothing is any more.
            if path not in self._removed or await self._bucket.any_below(self.key(path)):
                found[name] = Folder()
        for made in self._made:
            name = made.removeprefix(start)
            if made.startswith(start) and "/" not in name:
                found.setdefault(name, Folder())
        return found

    async def make_folder(self, path: str) -> None:
        """Makes a folder, which is in the bucket once something is in it."""
        if await self.look(path) is not None:
            raise OSError(errno.EEXIST, path)
        self._remember(path)
        self._changed(path)

    async def remove_folder(self, path: str) -> None:
        """Removes a folder that is empty."""
        if not isinstance(await self.look(path), Folder):
            raise OSError(errno.ENOTDIR, path)
        start = f"{path}/"
        if any(made.startswith(start) for made in self._made):
            raise OSError(errno.ENOTEMPTY, path)
        self._forget(path)
        if await self._bucket.any_below(self.key(path)):
            raise OSError(errno.ENOTEMPTY, path)
        self._made.pop(path, None)
        self._stay(path)
        self._changed(path)
        self._removed[path] = None
        if len(self._removed) > _REMEMBERED:
            del self._removed[next(iter(self._removed))]

    async def remove(self, path: str) -> None:
        """Removes an object; its folder stays."""
        await self._bucket.delete(self.key(path))
        self._stay(path)
        self._changed(path)

    async def move(self, old: str, new: str, *, replace: bool) -> None:
        """Gives an object another key, by copying it and removing the old one: whoever looks meanwhile sees both.

        A folder only where nothing is in it: EXDEV otherwise, upon which programs copy what is in it by themselves.
        """
        source, there = await self.look(old), await self.look(new)
        if source is None:
            raise OSError(errno.ENOENT, old)
        if there is not None and not replace:
            raise OSError(errno.EEXIST, new)
        if isinstance(source, Folder):
            await self._move_folder(old, new, there)
            return
        if isinstance(there, Folder):
            raise OSError(errno.EISDIR, new)
        if old != new:
            try:
                await self._bucket.copy(self.key(old), self.key(new))
            finally:
                self._changed(new)
            await self.remove(old)

    async def put(self, path: str, draft: Draft) -> None:
        """Puts what was written: until it is there as a whole, what was there before stays."""
        try:
            await draft.put(self._bucket, self.key(path))
        finally:
            self._changed(path)

    def see_anew(self, path: str) -> None:
        """What was seen of this path no longer counts."""
        self._changed(path)

    async def _move_folder(self, old: str, new: str, there: Entry | None) -> None:
        start = f"{old}/"
        if await self._bucket.any_below(self.key(old)) or any(made.startswith(start) for made in self._made):
            raise OSError(errno.EXDEV, old)
        if isinstance(there, Object):
            raise OSError(errno.ENOTDIR, new)
        if there is not None and await self._bucket.any_below(self.key(new)):
            raise OSError(errno.ENOTEMPTY, new)
        self._made.pop(old, None)
        self._stay(old)
        self._remember(new)
        self._changed(old)
        self._changed(new)

    def _or_made(self, path: str, found: Entry | None) -> Entry | None:
        return Folder() if path in self._made and not isinstance(found, Folder) else found

    def _stay(self, path: str) -> None:
        """The folder around `path` does not vanish with what was in it."""
        if folder := path.rpartition("/")[0]:
            self._remember(folder)

    def _remember(self, path: str) -> None:
        self._made[path] = None
        if len(self._made) > _REMEMBERED:
            del self._made[next(iter(self._made))]

    def _changed(self, path: str) -> None:
        """`path` is no longer what it was, and maybe the folders around it neither."""
        self._changes += 1
        while path:
            self._removed.pop(path, None)
            self._forget(path)
            path = path.rpartition("/")[0]
        self._listings.pop("", None)

    def _forget(self, path: str) -> None:
        self._seen.pop(path, None)
        self._listings.pop(path, None)
        self._listings.pop(path.rpartition("/")[0], None)

    def _fresh(self, kept: dict[str, tuple[float, Listing]], path: str) -> Listing | None:
        until_s, listing = kept.get(path, (0.0, None))
        return listing if until_s > self._now_s() else None

    def _keep(self, kept: dict[str, tuple[float, _T]], path: str, what: _T) -> None:
        now_s = self._now_s()
        # The oldest come first, as nothing is put in the place of what is fresh.
        kept.pop(path, None)
        while kept and (len(kept) > _REMEMBERED or next(iter(kept.values()))[0] <= now_s):
            del kept[next(iter(kept))]
        kept[path] = now_s + FRESH_S, what
