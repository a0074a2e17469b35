"""Volume commits: what a container has written to a volume, kept as blobs and told to the server."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from squall import faults
from squall.agent.mounted import InContainer, Mounted, MountedDirectory, Pending, Seen
from squall.blobs.at_once import at_once
from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.leases import Leases
from squall.blobs.manifest import File
from squall.blobs.manifest_bytes import Reader
from squall.blobs.overlay_notes import Notes
from squall.blobs.owners import Owners
from squall.blobs.snapshot import snapshot
from squall.blobs.upper_changes import SETTLED_NS, Stamp, changes_of, seen_after, unsettled
from squall.blobs.upper_walk import UpperWalk, look_at_upper
from squall.blobs.walk import How
from squall.context.fresh import fresh_id
from squall.model.errors import BlobMissing, ConnectionLost
from squall.model.ids import COMMIT
from squall.runtime.spec import UID_RANGE
from squall.wire.codec import MAX_PAYLOAD, Frame
from squall.wire.session import Session

_LOOKS: Final = 3
_INLINE: Final = MAX_PAYLOAD // 4

_KEPT = faults.declare("volume.kept", "what a container wrote is kept as blobs, and no commit names it")
_TELLING = faults.declare("volume.telling", "a commit is noted, and the server was not told of it")
_COMMITTED = faults.declare("volume.committed", "the server has made the new version, and nobody noted that")
_NOTED = faults.declare("volume.noted", "it is noted which writes are committed, and nobody was answered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """With what commits are made. session: the connection to the server, None while there is none. far: its blobs are elsewhere."""

    blobs: BlobStore
    leases: Leases
    session: Callable[[], Session | None]
    far: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """One generation of one volume of a container."""

    directory: MountedDirectory
    mounted: Mounted
    number: int
    generation: int
    lower: str

    @property
    def volume(self) -> InContainer:
        return self.mounted.volumes[self.number]

    @property
    def written(self) -> Path:
        """The directory in which the container's writes are."""
        place = self.directory.place(self.number, self.generation)
        return place / ("upper" if self.volume.way == "overlay" else "own")

    @property
    def below(self) -> Path | None:
        """What shows below that."""
        return Path(self.lower) if self.volume.way == "overlay" else None

    @property
    def how(self) -> How:
        """How that is looked at."""
        overlay = self.volume.way == "overlay"
        owners = None
        if self.mounted.uid_base is None:
            owners = Owners(uid_first=os.geteuid(), gid_first=os.getegid(), count=1)
        elif overlay or self.mounted.given:
            base = self.mounted.uid_base
            owners = Owners(uid_first=base, gid_first=base, count=UID_RANGE)
        return How(notes=Notes.USER if overlay else None, owners=owners)


async def commit(whose: Whose, stores: Stores) -> int | None:
    """The version that has what was written since the last commit; None where nothing was.

    Raises ConnectionLost, DiskFull, TreeInvalid, and what the server answers; the next commit takes it all then.
    """
    last = await _finish_pending(whose, stores)
    directory, number, generation = whose.directory, whose.number, whose.generation
    before = await asyncio.to_thread(directory.seen, number, generation)
    now, at_ns = await look_settled(whose)
    changes = changes_of({} if before is None else before.stamps, now)
    if not changes.any:
        return last
    async with stores.leases.held():
        taken = await snapshot(
            whose.written,
            stores.blobs,
            how=whose.how,
            walk=lambda root, how: UpperWalk(root, how, changes, lower=whose.below),
        )
        faults.point(_KEPT)
        if stores.far:
            await _send(taken.manifest, stores)
        pending = Pending(
            id=fresh_id(COMMIT),
            changes=taken.manifest,
            base=whose.volume.version if before is None else before.version,
            stamps=seen_after(now, at_ns),
        )
        await asyncio.to_thread(directory.note_pending, number, generation, pending)
        return await _tell(whose, stores, pending)


async def look_settled(whose: Whose) -> tuple[dict[str, Stamp], int]:
    """What is there, and when it was looked at; where it was written to just now, a moment later, so that it can be known again."""
    left = _LOOKS
    while True:
        at_ns = time.time_ns()
        now = await asyncio.to_thread(look_at_upper, whose.written, Notes.USER)
        left -= 1
        if not left or not unsettled(now, at_ns):
            return now, at_ns
        # The clock of files stands still for so long: what is changed after that has another time.
        await asyncio.sleep(SETTLED_NS / 1e9)


async def _finish_pending(whose: Whose, stores: Stores) -> int | None:
    """A commit that was cut short is told again, and answered as it was."""
    pending = await asyncio.to_thread(whose.directory.pending, whose.number, whose.generation)
    if pending is None:
        return None
    try:
        return await _tell(whose, stores, pending)
    except BlobMissing:
        # It was so long ago that what it kept is gone: what was written is kept anew.
        await asyncio.to_thread(whose.directory.drop_pending, whose.number, whose.generation)
        return None


async def _tell(whose: Whose, stores: Stores, pending: Pending) -> int:
    faults.point(_TELLING)
    head = {
        "volume": whose.volume.volume,
        "base": pending.base,
        "changes": pending.changes,
        "id": pending.id,
        # Elsewhere it is the server that forces them.
        "forced": not stores.far,
        "who": f"container {whose.mounted.container}",
    }
    answer = await ask(stores, "volume.commit", head)
    faults.point(_COMMITTED)
    seen = Seen(version=int(answer.head()["version"]), stamps=pending.stamps)
    await asyncio.to_thread(whose.directory.note_seen, whose.number, whose.generation, seen)
    faults.point(_NOTED)
    return seen.version


async def ask(
    stores: Stores, name: str, head: dict[str, Any], payload: bytes = b"", *, fds: tuple[int, ...] = ()
) -> Frame:
    """What the server answers. Raises ConnectionLost where there is none, or it goes."""
    session = stores.session()
    if session is None:
        raise ConnectionLost("the server cannot be reached just now")
    return await session.ask(name, head, payload, fds=fds)


async def _send(manifest: Digest, stores: Stores) -> None:
    """Bring what a manifest names to the server, which has its blobs on another machine: the chunks first."""
    reader, chunks = Reader(), set[Digest]()
    async for part in stores.blobs.stream(manifest):
        for entry in reader.feed(part):
            if isinstance(entry, File):
                chunks.update(one.chunk for one in entry.parts)
    reader.end()

    async def send(digest: Digest) -> None:
        await _put(stores, digest, await stores.blobs.get(digest))

    wanted = sorted(chunks)
    answer = await ask(stores, "blobs.missing", {}, json.dumps(wanted).encode())
    await at_once(send, {Digest(text) for text in json.loads(bytes(answer.payload))})
    await send(manifest)


async def _put(stores: Stores, digest: Digest, data: bytes) -> None:
    if len(data) <= _INLINE:
        await ask(stores, "blob.put", {"digest": digest, "forced": False}, data)
        return
    fd = os.memfd_create("squall-blob")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        await ask(stores, "blob.put", {"digest": digest, "forced": False}, fds=(fd,))
    finally:
        os.close(fd)
