"""Sweeps: what is kept for a time goes when its time is over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from squall.model.errors import Error
from squall.server.sharing import tidy
from squall.settings.options import Options
from squall.state.state_store import StateStore
from squall.state.volumes.records import Keeping

FIRST_S = 60.0
EVERY_S = 1800.0
YOUNG_S = 3600.0
"""How long any version of a volume stays: for who sends a commit again, or still has the version open."""

_log = logging.getLogger("squall.server")


class SweptLogs(Protocol):
    """What is swept of a log store."""

    async def sweep(self) -> int:
        """Removes what is past its time or beyond the size; how many files."""
        ...


class Sweeps:
    """Removes ended calls, old logs, what was cleared in Dicts and Queues, old versions of volumes, and secrets of apps of which nothing is left."""

    def __init__(
        self,
        state: StateStore,
        logs: SweptLogs,
        options: Options,
        secrets: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._state = state
        self._logs = logs
        self._keep_s = options.result_keep_s
        self._secrets = secrets
        self._volume_keep_s = options.volume_keep_s
        self._volume_versions = int(options.volume_versions)

    async def run(self) -> None:
        """Sweeps for ever."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.once(now_s=time.time())
            except Error as problem:
                _log.warning("what is past its time could not be removed: %s", problem)
            await asyncio.sleep(EVERY_S)

    async def once(self, *, now_s: float) -> None:
        """Sweeps now. now_s: seconds since 1970. Raises what the stores raise."""
        await self._state.sweep(ended_before_s=now_s - self._keep_s)
        await tidy(self._state)
        keeping = Keeping(
            most=self._volume_versions, before_s=now_s - self._volume_keep_s, young_s=now_s - YOUNG_S
        )
        await self._state.prune_versions(keeping)
        await self._logs.sweep()
        if self._secrets is not None:
            await self._secrets(now_s)
