"""A whole server that stands in this process, on stores of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from squall.blobs.disk_blobs import DiskBlobs
from squall.server.house import House, Stores
from squall.settings.options import Options
from squall.settings.paths import StatePaths, make_directories
from squall.state.log_lines import LogLimits
from squall.state.log_store import LogStore
from squall.state.memory_state import MemoryState


@contextlib.asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[House]:
    """A server that takes connections, and does nothing by itself."""
    paths = make_directories(StatePaths(state=folder / "state"))
    blobs = await DiskBlobs.open(paths.blobs)
    logs = await LogStore.open(paths.logs / "apps", LogLimits(app_bytes=2**20, keep_s=60.0))
    async with asyncio.TaskGroup() as tasks:
        yield House(Stores(blobs, MemoryState(), logs, paths), Options(), tasks)
    await logs.close()
    await blobs.close()
