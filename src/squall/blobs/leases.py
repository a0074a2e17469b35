"""Leases: files that say that somebody is putting blobs, and keep collections from those until it is said what for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from squall.blobs.sweep import Lease
from squall.blobs.threads import in_thread

LASTS_S: Final = 600.0

_COMING: Final = ".coming-"


class Leases:
    """The leases of one directory, of all processes that put blobs for longer than a moment.

    A lease holds all that was stored or renewed since it began, and what it stands for is named nowhere: that is known
    only later. Each is a file that its holder renews, and that counts for LASTS_S after its holder was killed.
    clock: seconds since 1970.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._holding: dict[str, float] = {}

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """A lease from here on, renewed until it is left. Raises OSError where it cannot be written at its beginning."""
        name, since_s = secrets.token_hex(8), self._clock()
        self._holding[name] = since_s
        renewing: asyncio.Task[None] | None = None
        try:
            await self._away(name, since_s)
            renewing = asyncio.get_running_loop().create_task(self._renew(name, since_s))
            yield
        finally:
            if renewing is not None:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
            (self._directory / name).unlink(missing_ok=True)
            del self._holding[name]

    def oldest_s(self) -> float | None:
        """When the longest lease began that this object holds."""
        return min(self._holding.values(), default=None)

    def live(self) -> tuple[Lease, ...]:
        """All leases that count now; files of those that were given up go. One that cannot be read holds too much."""
        found: list[Lease] = []
        for path in self._directory.glob("*") if self._directory.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                written_s = path.stat().st_mtime
                if self._clock() - written_s > 2 * LASTS_S:
                    path.unlink()
                elif not path.name.startswith(_COMING):
                    found.append(Lease(since_s=_since(path, written_s), until_s=written_s + LASTS_S))
        return tuple(found)

    async def _renew(self, name: str, since_s: float) -> None:
        while True:
            await asyncio.sleep(LASTS_S / 4)
            # A disk that is full now may have room for the next one.
            with contextlib.suppress(OSError):
                await self._away(name, since_s)

    async def _away(self, name: str, since_s: float) -> None:
        loop = asyncio.get_running_loop()
        await in_thread(loop.run_in_executor(None, self._write, name, since_s))

    def _write(self, name: str, since_s: float) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        coming = self._directory / f"{_COMING}{name}"
        coming.write_text(json.dumps({"since_s": since_s}), encoding="utf-8")
        os.utime(coming, (self._clock(), self._clock()))
        os.rename(coming, self._directory / name)


def _since(path: Path, written_s: float) -> float:
    try:
        said = json.loads(path.read_bytes())["since_s"]
    except (ValueError, KeyError, TypeError):
        return written_s - LASTS_S
    return float(said) if isinstance(said, int | float) else written_s - LASTS_S
