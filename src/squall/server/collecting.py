"""Collecting: what nobody refers to goes once a day, all that is kept is read again once a week, and both are noted."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from squall.blobs.blob_store import LocalBlobStore
from squall.blobs.collect import Collected, collect
from squall.blobs.digest import Digest
from squall.blobs.leases import Leases
from squall.blobs.naming import Names
from squall.blobs.scrub import scrub
from squall.blobs.sweep import cutoff
from squall.images.rooted.broken import forget_broken
from squall.images.rooted.kept import Kept
from squall.model.errors import BlobCorrupt, BlobMissing, ConflictError, Error
from squall.model.function import Function
from squall.model.jsonable import from_json, to_json
from squall.server.digests import digests_in
from squall.settings.lock import Lock
from squall.settings.options import DAY_S, Options
from squall.settings.paths import StatePaths
from squall.state.state_store import StateStore

COLLECT_EVERY_S = DAY_S
SCRUB_EVERY_S = 7 * DAY_S
FIRST_S = 120.0
LOOK_EVERY_S = 600.0
_NOTE_EVERY_S = 30.0
_MOST_DAMAGED = 100
_log = logging.getLogger("squall.server")

Functions = Callable[[], Iterable[Function]]
"""The functions of the apps that run now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A blob that was found to be something else. stands: the images and functions that named it, for people."""

    digest: str
    found_s: float
    stands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What the last collection and the last scrub did. Instants in seconds since 1970, 0 for never.

    blobs, freed: how many the last collection took, and their bytes. scrubbed_through: how far the pass is that is
    under way, or empty; checked: the blobs that it, or the last one, has read; damaged: the last hundred.
    """

    collected_s: float = 0.0
    blobs: int = 0
    freed: int = 0
    scrub_begun_s: float = 0.0
    scrub_ended_s: float = 0.0
    scrubbed_through: str = ""
    checked: int = 0
    damaged: tuple[Damaged, ...] = field(default=())


def read_notes(path: Path) -> Notes:
    """What was noted; nothing where no file is, or none of ours."""
    try:
        return from_json(Notes, json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return Notes()


class Collecting:
    """Collections and scrubs of one state directory's store. functions: those of the apps that run now."""

    def __init__(
        self,
        blobs: LocalBlobStore,
        state: StateStore,
        paths: StatePaths,
        options: Options,
        functions: Functions,
    ) -> None:
        self._blobs = blobs
        self._state = state
        self._paths = paths
        self._grace_s = options.blobs_grace_s
        self._scrub_bytes_s = options.scrub_bytes
        self._functions = functions
        self._kept = Kept(paths.images)
        self._leases = Leases(paths.leases)

    async def run(self) -> None:
        """Collects and scrubs for ever, each when its time has come."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                notes, now_s = self.notes, time.time()
                if not 0 <= now_s - notes.collected_s < COLLECT_EVERY_S:
                    await self.collect()
                under_way = notes.scrub_begun_s > notes.scrub_ended_s
                if self._scrub_bytes_s and (under_way or now_s - notes.scrub_ended_s >= SCRUB_EVERY_S):
                    await self.scrub()
            except ConflictError:
                pass
            except (Error, OSError) as problem:
                _log.warning("the store of blobs could not be looked after: %s", problem)
            await asyncio.sleep(LOOK_EVERY_S)

    @property
    def notes(self) -> Notes:
        """What the last collection and the last scrub did."""
        return read_notes(self._paths.store_notes)

    async def collect(self, *, grace_s: float | None = None) -> Collected:
        """Takes away what nothing refers to and nobody has put or renewed for the grace; beside everything else.

        grace_s: that of the options, unless it is said. Raises ConflictError while another collection runs, and what
        the stores raise.
        """
        lock = Lock.take(self._paths.run / "collect.lock")
        if lock is None:
            raise ConflictError(
                "a collection of this store is under way",
                remedy="ask again when it has ended, in a few minutes",
            )
        try:
            started_s = time.time()
            before_s = cutoff(
                now_s=started_s,
                grace_s=self._grace_s if grace_s is None else grace_s,
                # Before the roots: who has given up a lease has said what its blobs are for.
                leases=await asyncio.to_thread(self._leases.live),
            )
            told = await collect(self._blobs, self._roots, before_s=before_s)
            if told.broken:
                await self._forget_broken()
            self._note(replace(self.notes, collected_s=started_s, blobs=told.blobs, freed=told.freed))
        finally:
            lock.close()
        if told.blobs:
            took_s = time.time() - started_s
            _log.info(
                "%d blobs that nothing refers to went: %d bytes, in %.1f s", told.blobs, told.freed, took_s
            )
        return told

    async def scrub(self) -> Notes:
        """Reads what is kept, from where the last pass broke off, or all; what is damaged is put aside and noted.

        Images that stand on it are forgotten, so that they are built again, and trees of sources, so that they are
        sent again. What runs goes on. Raises what the stores raise.
        """
        notes = self.notes
        if not notes.scrubbed_through:
            notes = replace(notes, scrub_begun_s=time.time(), checked=0)
        noted_s = time.monotonic()
        async for one in scrub(self._blobs, bytes_s=self._scrub_bytes_s, after=notes.scrubbed_through):
            notes = replace(notes, scrubbed_through=one.digest, checked=notes.checked + 1)
            if one.damaged:
                found = Damaged(digest=one.digest, found_s=time.time(), stands=await self._stands(one.digest))
                notes = replace(notes, damaged=(*notes.damaged, found)[-_MOST_DAMAGED:])
                _log.error(
                    "the blob %s is damaged; on it stand: %s", one.digest, ", ".join(found.stands) or "none"
                )
            if one.damaged or time.monotonic() - noted_s > _NOTE_EVERY_S:
                noted_s = time.monotonic()
                self._note_scrub(notes)
        self._note_scrub(replace(notes, scrubbed_through="", scrub_ended_s=time.time()))
        return self.notes

    async def _stands(self, damaged: Digest) -> tuple[str, ...]:
        """What stood on a blob that has gone; none of it is taken for whole any more."""
        stands = await self._forget_broken()
        for volume, version in await self._state.volumes():
            if damaged in await self._named_by(Digest(version.manifest)):
                stands += (f"volume {volume.name or volume.id} (version {version.number})",)
        for function in self._functions():
            named = set(digests_in(to_json(function)))
            trees = [tree for tree in named if damaged in await self._named_by(tree)]
            # A client that hears that its tree is here would not ask for the files: it is to send all that is missing.
            await self._blobs.delete(trees)
            if trees or damaged in named:
                stands += (f"function {function.id}",)
        return stands

    async def _forget_broken(self) -> tuple[str, ...]:
        broken = await forget_broken(self._kept, self._blobs)
        for built in broken:
            _log.warning(
                "the image %s (%s) is not whole, and is built again at its next use", built.label, built.key
            )
        return tuple(f"image {built.label} ({built.key[:12]})" for built in broken)

    async def _named_by(self, tree: Digest) -> set[Digest]:
        names, found = Names(), set[Digest]()
        try:
            async for part in self._blobs.stream(tree):
                found.update(await asyncio.to_thread(list, names.feed(part)))
        except (BlobMissing, BlobCorrupt):
            pass
        return found

    async def _roots(self) -> set[Digest]:
        """Everything that refers to a blob from outside the store: calls on record, running apps, versions of deployed ones, volumes, images."""
        roots = {digest for function in self._functions() for digest in digests_in(to_json(function))}
        roots |= {Digest(text) for text in await self._state.blob_refs()}
        roots |= {Digest(text) for text in await self._state.volume_manifests()}
        for content in await self._state.version_contents():
            roots.update(digests_in(json.loads(content)))
        for built, _ in await asyncio.to_thread(self._kept.all):
            roots.update(map(Digest, built.trees))
        return roots

    def _note_scrub(self, scrubbed: Notes) -> None:
        """What a scrub knows, beside what a collection has noted meanwhile."""
        now = self.notes
        self._note(replace(scrubbed, collected_s=now.collected_s, blobs=now.blobs, freed=now.freed))

    def _note(self, notes: Notes) -> None:
        coming = self._paths.store_notes.with_suffix(".new")
        coming.write_text(json.dumps(asdict(notes)), encoding="utf-8")
        os.replace(coming, self._paths.store_notes)
