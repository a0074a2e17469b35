"""Sweeps: what is kept for a time goes when its time is over. Nothing that a running app names is ever removed."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.sweep import GRACE_S, marked, removable
from squall.blobs.tree import Tree, decode_tree
from squall.model.errors import Error
from squall.model.function import Function
from squall.model.jsonable import to_json
from squall.settings.options import Options
from squall.state.state_store import StateStore

FIRST_S = 60.0
EVERY_S = 1800.0
MOST_TREE_BYTES = 64 * 2**20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger("squall.server")


class SweptLogs(Protocol):
    """What is swept of a log store."""

    async def sweep(self) -> int:
        """Removes what is past its time or beyond the size; how many files."""
        ...


class Sweeps:
    """Removes ended calls, old logs, and blobs that nobody refers to. functions: those of all running apps."""

    def __init__(self, state: StateStore, blobs: BlobStore, logs: SweptLogs, options: Options) -> None:
        self._state = state
        self._blobs = blobs
        self._logs = logs
        self._keep_s = options.result_keep_s

    async def run(self, functions: Callable[[], Iterable[Function]]) -> None:
        """Sweeps for ever; functions: those of the apps that run now."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.once(functions(), now_s=time.time())
            except Error as problem:
                _log.warning("what is past its time could not be removed: %s", problem)
            await asyncio.sleep(EVERY_S)

    async def once(self, functions: Iterable[Function], *, now_s: float) -> int:
        """How many blobs went. now_s: seconds since 1970. Raises what the stores raise."""
        await self._state.sweep(ended_before_s=now_s - self._keep_s)
        await self._logs.sweep()
        stored = [blob async for blob in self._blobs.blobs()]
        old = [blob for blob in stored if now_s - blob.stored_s > GRACE_S]
        if not old:
            return 0
        # Looked at last: what is referred to from now on was put, and renewed, within the grace.
        named = {digest for function in functions for digest in digests_in(to_json(function))}
        small = {blob.digest for blob in stored if blob.size <= MOST_TREE_BYTES}
        trees = await self._trees(named & small)
        refs = marked(trees, named) | {Digest(text) for text in await self._state.blob_refs()}
        going = removable(old, refs=refs, leases={}, now_s=now_s)
        return await self._blobs.delete(going) if going else 0

    async def _trees(self, digests: Iterable[Digest]) -> dict[Digest, Tree]:
        """Those of the blobs that are trees, read."""
        trees: dict[Digest, Tree] = {}
        for digest in digests:
            try:
                trees[digest] = decode_tree(await self._blobs.get(digest))
            except (Error, ValueError):
                continue
        return trees


def digests_in(plain: Any) -> Iterator[Digest]:
    """Everything in a JSON value that looks like a digest: too much rather than too little."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from digests_in(key)
            yield from digests_in(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from digests_in(value)
    elif isinstance(plain, str):
        yield from map(Digest, _DIGEST.findall(plain))
