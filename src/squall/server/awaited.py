"""Awaited: calls of containers that outlived a server, while the client that tells of their app is not back yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from squall.model.errors import TooManyInputs
from squall.model.ids import AppId
from squall.server.held import GoOn, Held
from squall.wire.codec import Frame
from squall.wire.stream import Stream

MOST_CALLS: Final = 10_000
MOST_BYTES: Final = 256 * 2**20
"""Of the first frames of the calls that are held, all apps together."""


class Awaited:
    """Holds calls until their app is known. may_come: whether containers of an app are here that nobody has claimed yet."""

    def __init__(self, may_come: Callable[[AppId], bool]) -> None:
        self._may_come = may_come
        self._held: dict[AppId, list[Held]] = {}
        self._calls = self._bytes = 0

    def keep(self, app: AppId, stream: Stream, frame: Frame, go_on: GoOn) -> bool:
        """Whether a call of a function of this app, which is not known, is held.

        Raises TooManyInputs beyond MOST_CALLS and MOST_BYTES.
        """
        if not self._may_come(app):
            return False
        size = len(frame.payload)
        if self._calls >= MOST_CALLS or self._bytes + size > MOST_BYTES:
            raise TooManyInputs(
                f"{self._calls} calls wait for apps whose clients are not back yet",
                limit=MOST_CALLS,
                retry_after_s=0.5,
            )
        self._calls += 1
        self._bytes += size
        self._held.setdefault(app, []).append(Held.hold(stream, frame, go_on))
        return True

    def release(self, app: AppId) -> None:
        """The app is known: its calls go on, in their order."""
        for held in self._held.pop(app, ()):
            self._calls -= 1
            self._bytes -= len(held.frame.payload)
            held.release()

    def release_all(self) -> None:
        """Nobody is waited for any longer: calls of apps that are not known end."""
        for app in list(self._held):
            self.release(app)
