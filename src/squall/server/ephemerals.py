"""Ephemerals: what lives for as long as its client holds a stream open, and a while longer where its connection breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from squall.model.errors import Error
from squall.server.askers import Asker
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream

GRACE_S: Final = 10.0
"""How long one waits for a client whose connection broke."""

UNCLAIMED_S: Final = 60.0
"""How long one waits after the server has started, for the client of the server before."""

_log = logging.getLogger("squall.server")


class Ephemerals:
    """What is held now, by its id. later, spawn: run something after a while, or beside everything else. drop: has one end."""

    def __init__(
        self,
        drop: Callable[[str], Awaitable[None]],
        *,
        later: Callable[..., object],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._drop = drop
        self._later = later
        self._spawn = spawn
        self._held: dict[str, Stream] = {}

    def __contains__(self, of: str) -> bool:
        return of in self._held

    def hold(self, asker: Asker, of: str) -> Stream:
        """Has one live for as long as this stream, which is given back."""
        stream = self._held[of] = asker.stream
        stream.on_frame = lambda frame: self._on_holder(stream, of, frame)
        if asker.gone or not stream.live:
            self._let_go(of)
        return stream

    async def forget_unclaimed(self, those: Callable[[], Awaitable[list[str]]]) -> None:
        """Ends those of `those` whose clients have not come back since the server started."""
        await asyncio.sleep(UNCLAIMED_S)
        try:
            for of in await those():
                if of not in self._held:
                    await self._drop(of)
        except Error as problem:
            _log.warning("what ended with its client could not be removed: %s", problem)

    def _on_holder(self, stream: Stream, of: str, frame: Frame) -> None:
        if self._held.get(of) is not stream or frame.kind not in (Kind.END, Kind.CANCEL):
            return
        if frame.kind is Kind.END:
            del self._held[of]
            self._spawn(self._end(of, stream))
        else:
            self._let_go(of)
            if stream.live:
                stream.end({})

    def _let_go(self, of: str) -> None:
        """Its client is gone, and may come back."""
        self._held.pop(of, None)
        self._later(GRACE_S, self._end_unless_held, of)

    def _end_unless_held(self, of: str) -> None:
        if of not in self._held:
            self._spawn(self._end(of))

    async def _end(self, of: str, stream: Stream | None = None) -> None:
        """One ends; who ended it is told."""
        try:
            await self._drop(of)
        except Error as problem:
            _log.warning("what ended with its client could not be removed: %s", problem)
        if stream is not None and stream.live:
            stream.end({})
