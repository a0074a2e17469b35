"""Far blobs: the blobs of the server that this machine has joined."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from squall.blobs.digest import Digest
from squall.model.errors import ConnectionLost
from squall.wire.session import Session


class ServerBlobs:
    """Fetches blobs from the server, a part at a time. session: the connection to it, None while there is none."""

    def __init__(self, session: Callable[[], Session | None]) -> None:
        self._session = session

    async def stream(self, digest: Digest) -> AsyncIterator[bytes]:
        """See FarBlobs."""
        start, whole = 0, False
        while not whole:
            session = self._session()
            if session is None:
                raise ConnectionLost("the server that has these bytes cannot be reached just now")
            answer = await session.ask("blob.get", {"digest": digest, "start": start})
            whole = bool(answer.head().get("whole"))
            part = bytes(answer.payload)
            start += len(part)
            yield part
