"""Blob streams: bytes that clients and machines ask for or bring, and what is known of images that a machine has built."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, Final

from squall.blobs.blob_store import PART_BYTES
from squall.blobs.digest import Digest
from squall.model.errors import BlobMissing, InvalidError
from squall.server.house import House
from squall.server.kept_values import pieces
from squall.wire.codec import Frame
from squall.wire.session import Session
from squall.wire.stream import Stream

MOST_BLOB: Final = 4 * 2**30
LEAST_GRACE_S: Final = 60.0

Ask = Callable[[House, Session, Stream, Frame], Coroutine[Any, Any, None]]
"""house, who asks, and the opening frame, whose descriptors are the question's own."""


async def get(house: House, asking: Session, stream: Stream, frame: Frame) -> None:
    """A part of a blob, for a machine that joined: from here, or from another machine, which has built it."""
    head = frame.head()
    digest, start = Digest(head["digest"]), int(head["start"])
    try:
        part = await house.blobs.get(digest, start=start, stop=start + PART_BYTES)
    except BlobMissing:
        found = await house.ask_others(asking, "blob.get", head)
        stream.end(found.head(), found.payload)
    else:
        stream.end({"whole": len(part) < PART_BYTES}, part)


async def image_record(house: House, asking: Session, stream: Stream, frame: Frame) -> None:
    """What another machine knows of an image, for one that wants it."""
    found = await house.ask_others(asking, "image.record", frame.head())
    stream.end({}, found.payload)


async def missing(house: House, _asking: Session, stream: Stream, frame: Frame) -> None:
    """Which of these digests the server does not have."""
    said = json.loads(bytes(frame.payload)) if len(frame.payload) else frame.head()["digests"]
    digests = [Digest(text) for text in said]
    present = await house.blobs.has_many(digests, renew=True)
    stream.end({}, json.dumps([digest for digest in digests if digest not in present]).encode())


async def collect(house: House, _asking: Session, stream: Stream, frame: Frame) -> None:
    """Takes away what nothing refers to, and says what went."""
    grace_s = frame.head().get("grace_s")
    if grace_s is not None and not (isinstance(grace_s, int | float) and grace_s >= LEAST_GRACE_S):
        raise InvalidError(
            f"bytes that were just sent stay for {LEAST_GRACE_S:g} s at least, not {grace_s!r}"
        )
    told = await house.collecting.collect(grace_s=grace_s)
    notes = asdict(house.collecting.notes)
    stream.end({}, json.dumps({"blobs": told.blobs, "freed": told.freed, "notes": notes}).encode())


async def put(house: House, _asking: Session, stream: Stream, frame: Frame) -> None:
    """Keeps bytes under their digest: of the payload, or of a descriptor that came along.

    With `forced` false they are not waited for on the disk: whatever refers to them has them forced first.
    """
    data: Any = frame.payload
    if frame.fds:
        size = os.fstat(frame.fds[0]).st_size
        if size > MOST_BLOB:
            raise InvalidError(f"a blob has at most {MOST_BLOB} bytes, not {size}")
        data = pieces(frame.fds[0])
    head = frame.head()
    await house.blobs.put(data, announced=Digest(head["digest"]), forced=head.get("forced") is not False)
    stream.end({})


QUESTIONS: Final[dict[str, Ask]] = {
    "blob.get": get,
    "blob.put": put,
    "blobs.missing": missing,
    "blobs.collect": collect,
    "image.record": image_record,
}
