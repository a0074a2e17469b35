"""Awaited: what containers that outlived a server ask for, while the client that tells of their app is not back yet."""

from __future__ import annotations

from typing import Final

from squall.model.errors import TooManyInputs
from squall.model.ids import AppId, ContainerId
from squall.server.held import GoOn, Held
from squall.wire.codec import Frame
from squall.wire.stream import Stream

MOST_CALLS: Final = 10_000
MOST_BYTES: Final = 256 * 2**20
"""Of the first frames of what is held, all together."""


class Awaited:
    """Holds streams until somebody is known: the app of which one is a call, or the container from which it comes."""

    def __init__(self) -> None:
        self._held: dict[AppId | ContainerId, list[Held]] = {}
        self._calls = self._bytes = 0

    def keep(self, who: AppId | ContainerId, stream: Stream, frame: Frame, go_on: GoOn) -> None:
        """Holds a stream with its first frame, and what comes on it. Raises TooManyInputs beyond MOST_CALLS and MOST_BYTES."""
        size = len(frame.payload)
        if self._calls >= MOST_CALLS or self._bytes + size > MOST_BYTES:
            raise TooManyInputs(
                f"{self._calls} calls wait for apps whose clients are not back yet",
                limit=MOST_CALLS,
                retry_after_s=0.5,
            )
        self._calls += 1
        self._bytes += size
        self._held.setdefault(who, []).append(Held.hold(stream, frame, go_on))

    def release(self, who: AppId | ContainerId) -> None:
        """It is known: what waits for it goes on, in its order."""
        for held in self._held.pop(who, ()):
            self._calls -= 1
            self._bytes -= len(held.frame.payload)
            held.release()

    def release_all(self) -> None:
        """Nobody is waited for any longer: what waits goes on as it is, and calls of apps that are not known end."""
        for who in list(self._held):
            self.release(who)
