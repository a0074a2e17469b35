"""Spool: bytes on their way, with their digest, before they may have a name."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from squall.blobs.blob_store import PART_BYTES
from squall.blobs.digest import Bytes, Digest, Digester
from squall.blobs.threads import on_disk

P = ParamSpec("P")
T = TypeVar("T")

HELD_BYTES: Final = 5 << 20  # what is kept in memory; the smallest part of an upload that S3 takes


class Spool:
    """Takes parts one by one; gives them back by their place, once or often.

    Up to HELD_BYTES lie in memory, more in a file of the temporary directory that has no name: it is gone with the
    process, however that ends. Raises DiskFull and its like for that directory.
    """

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._file = tempfile.SpooledTemporaryFile(max_size=HELD_BYTES)  # noqa: SIM115 - closed by `close`
        self._digester = Digester()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._digester.size

    def digest(self) -> Digest:
        """The digest of all bytes so far."""
        return self._digester.digest()

    async def add(self, part: Bytes) -> None:
        await self._away(self._add, part)

    async def read(self, start: int, stop: int) -> bytes:
        """The bytes from start to stop, or to the end."""
        return await self._away(self._read, start, stop)

    async def parts(self, part_bytes: int = PART_BYTES) -> AsyncIterator[bytes]:
        """All bytes, in parts of this size; the last may be smaller."""
        for start in range(0, self.size, part_bytes):
            yield await self.read(start, start + part_bytes)

    def close(self) -> None:
        # What could not be written any more is not wanted any more either.
        with contextlib.suppress(OSError):
            self._file.close()

    async def _away(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await on_disk(self._threads, Path(tempfile.gettempdir()), lambda: work(*args, **kwargs))

    def _add(self, part: Bytes) -> None:
        raw = memoryview(part).cast("B")
        self._digester.update(raw)
        self._file.write(raw)

    def _read(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        return self._file.read(max(0, stop - start))
