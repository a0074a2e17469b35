"""Elsewhere: images that another machine has built, fetched from there and not built again; and those of this one, for others."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from squall.blobs.blob_store import PART_BYTES, LocalBlobStore
from squall.blobs.certain import certain
from squall.blobs.digest import Digest
from squall.blobs.read_through import FarBlobs, ReadThroughBlobs
from squall.images.flight import Say
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.model.errors import Error, NotFoundError
from squall.wire.codec import Frame
from squall.wire.session import Session
from squall.wire.stream import Stream

_log: Final = logging.getLogger("squall.agent")
_MOST_KEYS: Final = 1000


class Elsewhere:
    """The images of all machines of a server, as this one sees them. near: its own blobs; far: those of the others.

    session: the connection to the server, None while there is none.
    """

    def __init__(
        self, kept: Kept, near: LocalBlobStore, far: FarBlobs, session: Callable[[], Session | None]
    ) -> None:
        self._kept = kept
        self._near = near
        self._through = ReadThroughBlobs(near, far)
        self._session = session

    async def fetch(self, keys: Sequence[str], say: Say) -> int:
        """Brings images here that are not, each with all that it is made of; how many. What cannot be fetched is built here.

        keys: as another machine has said; those that stand on others after these.
        """
        fetched = 0
        for key in keys[:_MOST_KEYS]:
            if await asyncio.to_thread(self._kept.find, key) is not None:
                continue
            try:
                built = await self._record(key)
                for tree in built.trees:
                    await self._through.bring(Digest(tree))
                await certain(self._near, [Digest(tree) for tree in built.trees])
            except (Error, ValueError) as problem:
                _log.info("the image %s was not fetched from another machine: %s", key, problem)
                break
            await asyncio.to_thread(self._kept.keep, replace(built, took_s=0.0))
            say(f"fetched {built.label or built.key[:12]} from the machine that built it")
            fetched += 1
        return fetched

    def give_record(self, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
        """What is known of an image that was built here, for a machine that wants it."""
        built = self._kept.find(str(head["key"]))
        if built is None:
            stream.fail(NotFoundError("this machine has not got that image"))
        else:
            stream.end({}, json.dumps(built.to_json()).encode())

    async def give_blob(self, stream: Stream, head: dict[str, Any]) -> None:
        """A part of a blob that is here, for a machine that wants it. Raises BlobMissing."""
        start = int(head["start"])
        part = await self._near.get(Digest(str(head["digest"])), start=start, stop=start + PART_BYTES)
        stream.end({"whole": len(part) < PART_BYTES}, part)

    async def _record(self, key: str) -> Built:
        session = self._session()
        if session is None:
            raise NotFoundError("no server is there to be asked")
        answer = await session.ask("image.record", {"key": key})
        built = Built.from_json(json.loads(bytes(answer.payload)))
        if built.key != key:
            raise NotFoundError(f"the image {built.key} came for {key}")
        return built
