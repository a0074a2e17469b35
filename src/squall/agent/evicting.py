"""Evicting: directories of layers and sources that nothing needs go when all of them take too much room."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest
from squall.blobs.sweep import evicted
from squall.model.errors import Error

EVERY_S = 3600.0
RECENTLY_S = 600.0
_log = logging.getLogger("squall.agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What stays: the directories of these names, and those that were asked for since an instant."""

    names: frozenset[str]
    since_s: float | None = None


class Evicting:
    """The checkouts of one agent: the longest unused go, and are made again from their blobs when they are asked for.

    needed: what stays, asked when it is known what there is; None where nobody knows.
    """

    def __init__(
        self, checkouts: Mapping[str, Checkouts], budget_bytes: int, needed: Callable[[], Needed | None]
    ) -> None:
        self._checkouts = checkouts
        self._budget_bytes = budget_bytes
        self._needed = needed

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
        needed = self._needed()
        if needed is None:
            return 0
        before_s = time.time() - RECENTLY_S
        if needed.since_s is not None:
            before_s = min(before_s, needed.since_s)
        in_use = {
            name for name, copy in copies.items() if copy.key in needed.names or copy.used_s >= before_s
        }
        named = (replace(copy, key=name) for name, copy in copies.items())
        gone = 0
        for name in evicted(named, in_use=in_use, budget_bytes=self._budget_bytes):
            kind, _, digest = name.partition("/")
            # Whoever asks for it meanwhile is given it before, and it stays, or after, and it is made again.
            gone += await self._checkouts[kind].remove(Digest(digest), before_s=before_s)
        if gone:
            _log.info("%d directories of images and sources went, of those that nothing needs", gone)
        return gone
