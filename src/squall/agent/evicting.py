"""Evicting: directories of layers and sources that nothing needs go when all of them take too much room."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from squall.agent.containers import Containers
from squall.agent.prepared import Images
from squall.blobs.digest import Digest
from squall.blobs.sweep import evicted
from squall.images.rooted.images import Stores
from squall.model.errors import Error

EVERY_S = 3600.0
RECENTLY_S = 600.0
_log = logging.getLogger("squall.agent")


class Evicting:
    """The checkouts of one agent: the longest unused go, and are made again from their blobs when they are asked for."""

    def __init__(self, stores: Stores, images: Images, containers: Containers, budget_bytes: int) -> None:
        self._checkouts = {"rendered": stores.rendered, "trees": stores.trees}
        self._images = images
        self._containers = containers
        self._budget_bytes = budget_bytes
        self._adopted: frozenset[str] = frozenset()

    def adopted(self) -> None:
        """The containers that run now were started by an earlier agent: on which directories, nobody knows."""
        self._adopted = frozenset(self._containers.present)

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.once()
            except Error as problem:
                _log.warning("directories of images could not be removed: %s", problem)

    async def once(self) -> int:
        """How many directories went."""
        copies = {
            f"{kind}/{copy.key}": copy
            for kind, checkouts in self._checkouts.items()
            for copy in await checkouts.copies()
        }
        if self._adopted & self._containers.present.keys():
            return 0
        # From here to the names of those that go, nothing else runs: nobody is given what is about to go.
        needed = self._images.keep_only(self._containers.functions())
        before_s = min(time.time() - RECENTLY_S, self._images.leases.oldest_s() or time.time())
        in_use = {name for name, copy in copies.items() if copy.key in needed or copy.used_s >= before_s}
        named = (replace(copy, key=name) for name, copy in copies.items())
        going = evicted(named, in_use=in_use, budget_bytes=self._budget_bytes)
        gone = 0
        for name in going:
            kind, _, digest = name.partition("/")
            gone += await self._checkouts[kind].remove(Digest(digest), before_s=before_s)
        if gone:
            _log.info("%d directories of images and sources went, of those that nothing needs", gone)
        return gone
