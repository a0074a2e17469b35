"""Volumes: what each holds now, and how a change becomes the next version of it, whole or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from squall import faults
from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.manifest import ROOT, Attributes, Directory, Manifest
from squall.blobs.merge import doubts, merge
from squall.blobs.stack import stack
from squall.context.fresh import fresh_id
from squall.model.errors import (
    BlobMissing,
    ConflictError,
    ResourceExhaustedError,
    VolumeNotFound,
    VolumeVersionNotFound,
)
from squall.model.ids import VOLUME, CommitId, VolumeId
from squall.model.volume import MOST_VOLUMES
from squall.server.trees import Trees
from squall.state.state_store import StateStore
from squall.state.volumes.records import Put, VolumeRecord, VolumeVersion

EMPTY: Final = Manifest((Directory(path=ROOT, attributes=Attributes(mode=0o755)),))
"""What a volume begins with."""

_AT_ONCE: Final = 1024
_TRIES: Final = 100

_MERGED = faults.declare(
    "volumes.merged", "what a commit comes to is known, and nothing of it is kept for good"
)
_FORCED = faults.declare("volumes.forced", "the bytes of a commit are on disk, and its manifest is not")
_KEPT = faults.declare("volumes.kept", "the manifest of a commit is on disk, and the volume is what it was")
_RECORDED = faults.declare(
    "volumes.recorded", "the new version of a volume is on record, and nobody was told"
)

Change = Callable[[Manifest], Manifest]
"""What becomes of the tree of a volume: a pure function, which may be asked again with a newer tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What somebody wants changed of a volume. id: made by its sender. who, why: for people.

    base: the number of the version that it began with. changes: the digest of a layer, which laid over that version
    gives what its writer has now. since: the layer that the writer's last commit had, "" for its first; so the changes may be all
    of them since the base each time, and only what is new is written again. Without these three in `Volumes.change`.
    forced: its bytes are on disk for certain.
    """

    volume: VolumeId
    id: CommitId
    base: int = 0
    changes: Digest = Digest("")
    since: str = ""
    forced: bool = False
    who: str = ""
    why: str = ""


class Volumes:
    """The volumes of one record, whose files are in `blobs`."""

    def __init__(self, state: StateStore, blobs: BlobStore) -> None:
        self.state = state
        self.trees = Trees(blobs)
        self._blobs = blobs
        self._turns: WeakValueDictionary[VolumeId, asyncio.Lock] = WeakValueDictionary()

    async def find(self, environment: str, name: str, *, create: bool) -> VolumeRecord:
        """The volume of this name, made where it is not there and may be. Raises VolumeNotFound."""
        found = await self.state.volume(environment, name)
        if found is None and create:
            found = await self.make(
                VolumeRecord(
                    id=VolumeId(fresh_id(VOLUME)), environment=environment, name=name, created_s=time.time()
                )
            )
        if found is None:
            raise VolumeNotFound(f"there is no volume {name!r} in the environment {environment}", name=name)
        return found

    async def make(self, wanted: VolumeRecord) -> VolumeRecord:
        """The volume on record, made empty where it is not there. Raises ResourceExhaustedError."""
        first = VolumeVersion(
            volume=wanted.id, number=0, manifest=await self.trees.put(EMPTY), at_s=wanted.created_s
        )
        opened = await self.state.open_volume(wanted, first, most=MOST_VOLUMES)
        if opened is None:
            raise ResourceExhaustedError(
                f"there are {MOST_VOLUMES} volumes, which is as many as there may be",
                remedy="delete some with `squall volume delete NAME`",
            )
        return opened

    async def drop(self, of: str) -> None:
        """Removes a volume with all its versions, if it is there."""
        await self.state.drop_volume(VolumeId(of))

    async def without_name(self) -> list[str]:
        """The ephemeral ones."""
        return [volume.id for volume, _ in await self.state.volumes() if not volume.name]

    async def head(self, of: VolumeId) -> VolumeVersion:
        """The newest version of a volume. Raises VolumeNotFound."""
        found = await self.state.volume_head(of)
        if found is None:
            raise gone(of)
        return found

    async def version(self, of: VolumeId, which: int | str | None) -> VolumeVersion:
        """The version of this number or name; the newest for None. Raises VolumeNotFound, VolumeVersionNotFound."""
        if which is None:
            return await self.head(of)
        if isinstance(which, int):
            found = await self.state.volume_version(of, which)
        else:
            found = await self.state.volume_label(of, which)
        if found is None:
            head = await self.head(of)
            raise VolumeVersionNotFound(
                f"the volume has no version {which!r} on record; the newest is {head.number}"
            )
        return found

    async def commit(self, asked: Commit) -> VolumeVersion:
        """The version that holds a commit, once that is on disk; the head where it changes nothing.

        Raises VolumeNotFound, BlobMissing where not all bytes of it are here, TreeInvalid, ResourceExhaustedError.
        """
        async with self._turn(asked.volume):
            known = await self.state.volume_commit(asked.volume, asked.id)
            if known is not None:
                return known
            head = await self.head(asked.volume)
            started = await self.state.volume_version(asked.volume, asked.base) or head
            base = await self.trees.get(Digest(started.manifest))
            layer = await self.trees.get(asked.changes)
            earlier = await self.trees.get(Digest(asked.since)) if asked.since else None
            before = base if earlier is None else await asyncio.to_thread(stack, base, earlier)
            after = await asyncio.to_thread(stack, base, layer)
            same = await self._same(before, after)
            return await self._advance(
                head, asked, lambda now: after if now == before else merge(before, after, now, same=same)
            )

    async def change(self, asked: Commit, change: Change) -> VolumeVersion:
        """The version that a change makes of the newest one; asked: its volume, its id, who and why. As `commit`."""
        async with self._turn(asked.volume):
            known = await self.state.volume_commit(asked.volume, asked.id)
            return known or await self._advance(await self.head(asked.volume), asked, change)

    async def _advance(self, head: VolumeVersion, asked: Commit, change: Change) -> VolumeVersion:
        """Looks at the head, makes the next version of it, and has it on record; again where another one was faster."""
        for _ in range(_TRIES):
            now = await self.trees.get(Digest(head.manifest))
            wanted = await asyncio.to_thread(change, now)
            if wanted == now:
                return head
            faults.point(_MERGED)
            await self._keep(wanted.chunks - now.chunks, forced=asked.forced)
            faults.point(_FORCED)
            manifest = await self.trees.put(wanted)
            faults.point(_KEPT)
            answer = await self.state.put_version(
                VolumeVersion(
                    volume=asked.volume,
                    number=head.number + 1,
                    manifest=manifest,
                    parent=head.number,
                    commit=asked.id,
                    at_s=time.time(),
                    who=asked.who,
                    why=asked.why,
                    entries=len(wanted.entries) - 1,
                    size_bytes=wanted.size,
                )
            )
            if answer.put is Put.GONE or answer.version is None:
                raise gone(asked.volume)
            if answer.put is Put.DONE:
                faults.point(_RECORDED)
                return answer.version
            head = answer.version
        raise ConflictError(f"others changed the volume {_TRIES} times while this commit was being made")

    async def _same(self, before: Manifest, after: Manifest) -> frozenset[str]:
        """The files that were not written, although their bytes lie elsewhere now."""
        same: set[str] = set()
        for doubt in await asyncio.to_thread(doubts, before, after):
            try:
                was, now = [
                    await self._blobs.get(part.chunk, start=part.offset, stop=part.offset + part.length)
                    for part in (doubt.before, doubt.after)
                ]
            except BlobMissing:
                continue  # of a version that is not kept: then it counts as written
            if was == now:
                same.add(doubt.path)
        return frozenset(same)

    async def _keep(self, chunks: frozenset[Digest], *, forced: bool) -> None:
        """Returns once these are here, are on disk, and stay for now. Raises BlobMissing. forced: whoever put them has seen to the disk."""
        ordered = sorted(chunks)
        for at in range(0, len(ordered), _AT_ONCE):
            some = ordered[at : at + _AT_ONCE]
            missing = set(some) - await self._blobs.has_many(some, renew=True)
            if missing:
                digest = min(missing)
                raise BlobMissing(
                    f"a commit names bytes that the server does not have: {digest}", digest=digest
                )
            if not forced:
                await self._blobs.force(some)

    def _turn(self, of: VolumeId) -> asyncio.Lock:
        """One change of a volume at a time: others wait instead of merging in vain."""
        lock = self._turns.get(of)
        if lock is None:
            lock = self._turns[of] = asyncio.Lock()
        return lock


def gone(of: VolumeId) -> VolumeNotFound:
    """What is said of a volume that is not there."""
    return VolumeNotFound(f"the volume {of} is not there: it was deleted, or ended with its client")
