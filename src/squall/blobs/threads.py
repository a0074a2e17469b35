"""Thread: what was sent there is waited for to its end, whoever stops waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from squall.blobs.disk_errors import disk_error

T = TypeVar("T")


async def in_thread(sent: asyncio.Future[T]) -> T:
    """What the thread gives. Who is cancelled meanwhile hears of it once the thread has ended.

    A thread cannot be stopped: were its caller to go on, it would close files under the thread's hands.
    """
    try:
        return await asyncio.shield(sent)
    except asyncio.CancelledError:
        while not sent.done():
            try:
                await asyncio.wait([sent])
            except asyncio.CancelledError:
                continue
        if not sent.cancelled():
            sent.exception()  # seen: the caller asked to hear of nothing but its cancellation
        raise


async def on_disk(threads: Executor, root: Path, work: Callable[[], T]) -> T:
    """What `work` gives, done in a thread; what the disk below `root` refuses is raised as a named error."""
    try:
        return await in_thread(asyncio.get_running_loop().run_in_executor(threads, work))
    except OSError as error:
        raise disk_error(error, root) from error
