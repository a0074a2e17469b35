"""Backups: the record is copied once a day, for as long as the server runs."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Final

from squall.model.errors import Error, FeatureUnavailable
from squall.settings.options import Options
from squall.state.sqlite_backup import backups_in
from squall.state.state_store import StateStore

FIRST_S: Final = 120.0  # after a start: whoever only calls once does not wait for a disk
AGAIN_S: Final = 3600.0  # after one that failed
_log = logging.getLogger("squall.server")


class Backups:
    """Makes backups in `directory`, and keeps the last of them.

    trouble: why the last one could not be made; None while all is well.
    """

    def __init__(self, state: StateStore, directory: Path, options: Options) -> None:
        self._state = state
        self._directory = directory
        self._every_s = options.backup_every_s
        self._keep = options.backup_keep
        self.trouble: str | None = None

    async def run(self) -> None:
        """Makes them for ever; not at all where the owner wants none, or the database is another's to back up."""
        wait_s = FIRST_S
        while self._every_s:
            await asyncio.sleep(wait_s)
            wait_s = await self.once(now_s=time.time())

    async def once(self, *, now_s: float) -> float:
        """Makes one, if it is due; how long until the next is. now_s: seconds since 1970."""
        last = next((one.at_s for one in backups_in(self._directory) if not one.before), 0.0)
        # A clock that was set back does not put the next one off for longer than the time between two.
        if last <= now_s < last + self._every_s:
            return last + self._every_s - now_s
        try:
            await self._state.back_up(self._directory, keep=self._keep)
        except FeatureUnavailable:
            self._every_s = 0.0
        except Error as problem:
            self.trouble = problem.message
            _log.error("the record could not be backed up: %s", problem)
            return min(AGAIN_S, self._every_s)
        else:
            self.trouble = None
        return self._every_s
