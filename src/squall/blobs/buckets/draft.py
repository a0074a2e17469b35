"""Draft: what is being written to an object, until it is put as a whole."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from typing import Final

from squall.blobs.buckets.bucket import Bucket, Object, ObjectChangedError

_PART: Final = 1 << 20
_LOADED: Final = 8 << 20


class Draft:
    """The bytes of one object in the making, in a file without a name: gone with the process, however that ends.

    path: its place in the tree, None once that was removed. users: open files that write to it or read from it. dirty: it is not in the
    bucket as it is here. lost: it could not be put, and who wrote it was told.
    """

    def __init__(self, path: str, directory: str) -> None:
        self.path: str | None = path
        self.users = 0
        self.size = 0
        self.modified_s = time.time()
        self.lost = False
        self.putting = asyncio.Lock()
        self._version = 1
        self._put_version = 0
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - closed by `close`

    @property
    def dirty(self) -> bool:
        return self._version != self._put_version

    def write(self, offset: int, data: memoryview) -> None:
        """Raises OSError: the disk is full."""
        done = 0
        while done < len(data):
            done += os.pwrite(self._file.fileno(), data[done:], offset + done)
        self.size = max(self.size, offset + len(data))
        self._changed()

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._file.fileno(), size)
        self.size = size
        self._changed()

    async def load(self, bucket: Bucket, key: str, known: Object) -> None:
        """Begins with what the object is now. Raises ObjectChangedError and the Bucket errors."""
        for start in range(0, known.size, _LOADED):
            part = await bucket.read(key, start, min(known.size, start + _LOADED), known.etag)
            if not part:
                raise ObjectChangedError
            self.write(start, memoryview(part))
        self.modified_s = known.stored_s
        self._put_version = self._version

    async def parts(self) -> AsyncIterator[bytes]:
        """All of it."""
        for start in range(0, self.size, _PART):
            yield self.read(start, _PART)
            # The disk was asked: others get their turn.
            await asyncio.sleep(0)

    async def put(self, bucket: Bucket, key: str) -> Object:
        """Puts it, as a whole. Raises the Bucket errors."""
        version = self._version
        put = await bucket.put(key, self)
        self._put_version = version
        self.lost = False
        return put

    def close(self) -> None:
        self._file.close()

    def _changed(self) -> None:
        self._version += 1
        self.modified_s = time.time()
        self.lost = False
