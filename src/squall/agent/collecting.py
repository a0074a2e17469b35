"""Collecting: on a machine that joined, blobs that were fetched or built there go once nothing there needs them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from squall.agent.evicting import Needed
from squall.blobs.blob_store import LocalBlobStore
from squall.blobs.collect import Collected, collect
from squall.blobs.digest import Digest, is_digest
from squall.blobs.leases import Leases
from squall.blobs.sweep import cutoff
from squall.images.rooted.kept import Kept
from squall.model.errors import ConflictError, Error
from squall.settings.paths import StatePaths

FIRST_S: Final = 300.0
EVERY_S: Final = 3600.0
_log: Final = logging.getLogger("squall.agent")


class NodeCollecting:
    """Collections of a joined machine's store; on the server's own machine the server does it, which knows more.

    grace_s: how long bytes stay that nothing here refers to. needed: see `Evicting`. The server has whatever goes, but for
    layers that were built here, which stay as long as their images are known here.
    """

    def __init__(
        self, blobs: LocalBlobStore, paths: StatePaths, grace_s: float, needed: Callable[[], Needed | None]
    ) -> None:
        self._blobs = blobs
        self._kept = Kept(paths.images)
        self._leases = Leases(paths.leases)
        self._grace_s = grace_s
        self._needed = needed

    async def run(self) -> None:
        """Collects for ever."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                told = await self.collect()
                if told is not None and told.blobs:
                    _log.info("%d blobs that nothing here needs went: %d bytes", told.blobs, told.freed)
            except (Error, OSError) as problem:
                _log.warning("the store of blobs could not be looked after: %s", problem)
            await asyncio.sleep(EVERY_S)

    async def collect(self) -> Collected | None:
        """What went; None while containers run of which this agent does not know what they need."""
        if self._needed() is None:
            return None
        before_s = cutoff(
            now_s=time.time(), grace_s=self._grace_s, leases=await asyncio.to_thread(self._leases.live)
        )
        return await collect(self._blobs, self._roots, before_s=before_s)

    async def _roots(self) -> set[Digest]:
        needed = self._needed()
        if needed is None:
            raise ConflictError("containers have come of which nobody knows what they need")
        roots = {Digest(name) for name in needed.names if is_digest(name)}
        for built, _ in await asyncio.to_thread(self._kept.all):
            roots.update(map(Digest, built.trees))
        return roots
