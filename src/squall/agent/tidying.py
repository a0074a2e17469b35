"""Tidying: what launchers that were killed have left behind is removed, also where no other launcher starts."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess

from squall.settings.paths import StatePaths
from squall.settings.start import command

_log = logging.getLogger("squall.agent")
# A container's directory that is younger may not be held by its launcher yet.
_AFTER_S = 1.2
_WITHIN_S = 30.0


class Tidying:
    """The directories of containers, looked through when the agent begins and when a launcher is lost."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Looks through them a moment later, unless that is under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tidy())

    async def _tidy(self) -> None:
        await asyncio.sleep(_AFTER_S)
        if os.listdir(self._paths.scratch):
            # A process of its own: it may have to act for container's ids, which takes a fork.
            argv = command("squall.runtime.tidy", str(self._paths.state), "0")
            try:
                await asyncio.to_thread(subprocess.run, argv, check=False, timeout=_WITHIN_S)
            except (OSError, subprocess.TimeoutExpired) as problem:
                _log.warning("what a launcher has left stays: %s", problem)
