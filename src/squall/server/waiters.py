"""Waiters: who asks for outcomes of durable calls, and is answered from the record."""

from __future__ import annotations

import json
import os

from squall.blobs.digest import Digest
from squall.model.errors import Error
from squall.model.ids import CallId
from squall.server.kept_values import KeptValues
from squall.state.state_store import StateStore
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream


class Waiters:
    """Streams by the input whose outcome they end with; false when nobody waits."""

    def __init__(self, store: StateStore, values: KeptValues) -> None:
        self._store = store
        self._values = values
        self._waiting: dict[tuple[CallId, int], list[Stream]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, call: CallId, index: int, stream: Stream) -> None:
        """Somebody asks; until the answer, or until who asks has gone."""
        self._waiting.setdefault((call, index), []).append(stream)
        stream.on_frame = lambda frame: self._stop_waiting(call, index, stream, frame)

    def leave(self, call: CallId, index: int, stream: Stream) -> None:
        """One that asked does not wait any more."""
        waiting = self._waiting.get((call, index), [])
        if stream in waiting:
            waiting.remove(stream)
        if not waiting:
            self._waiting.pop((call, index), None)

    def forget(self, call: CallId, index: int) -> None:
        """Nobody waits for this one any more."""
        self._waiting.pop((call, index), None)

    def fail(self, call: CallId, error: Error) -> None:
        """Whoever waits for an outcome of a call gets an error."""
        for key in [key for key in self._waiting if key[0] == call]:
            for stream in self._waiting.pop(key):
                stream.fail(error)

    async def tell(self, call: CallId, index: int) -> None:
        """An outcome is on disk: whoever waits for it gets it, or the error that keeps it from being read."""
        waiting = self._waiting.get((call, index))
        if waiting is None:
            return
        streams = list(waiting)
        try:
            await self.give(call, index)
        except Error as problem:
            for stream in streams:
                stream.fail(problem)

    async def give(self, call: CallId, index: int) -> bool:
        """Ends the streams of those who wait with the outcome, if it is on record; whether it is."""
        found = await self._store.outcomes(call, start=index, stop=index + 1)
        if not found:
            return False
        outcome = found[0]
        size = json.loads(outcome.head)
        for stream in self._waiting.pop((call, index), []):
            fds: tuple[int, ...] = ()
            if outcome.blob is not None:
                fds = (await self._values.fetch(Digest(outcome.blob)),)
                size["f"] = 0
            if stream.live:
                stream.end({"o": [index, [size], [int(outcome.kind)]]}, bytes(outcome.payload), fds=fds)
            for fd in fds:
                os.close(fd)
        return True

    def _stop_waiting(self, call: CallId, index: int, stream: Stream, frame: Frame) -> None:
        if frame.kind is Kind.CANCEL:
            self.leave(call, index, stream)
            if stream.live:
                stream.end({})
