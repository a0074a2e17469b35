"""Spawn: calls that outlive their caller; on disk before the id is given out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any

from squall.context.fresh import fresh_id
from squall.model.call import Verb
from squall.model.ids import CALL
from squall.sdk.calls import Packed, Target, parent
from squall.sdk.function_call import FunctionCall
from squall.sdk.inputs import Input, Inputs, collect
from squall.sdk.maps import BATCH, BATCH_BYTES, FRAME_BYTES
from squall.wire import payload

Sending = Coroutine[Any, Any, None]


async def spawn(target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FunctionCall[Any]:
    """Records one input, and gives its call."""
    packed = Packed(target, args, kwargs)
    call = fresh_id(CALL)
    head = {
        "call": call,
        "verb": Verb.SPAWN,
        **target.head,
        "d": [packed.size],
        "start": 0,
        "total": 1,
        **parent(),
    }
    try:
        await target.client.ask_surely("call", head, *packed.buffers, fds=packed.fds)
    finally:
        packed.close()
    return FunctionCall(call, root=target.root)


class SpawnedMap:
    """A map that is being recorded, chunk by chunk; it runs from the first chunk on."""

    def __init__(self, target: Target, verb: Verb) -> None:
        self.id = fresh_id(CALL)
        self._target = target
        self._verb = verb
        self._parent = parent()
        self._at = 0
        self._mean_bytes = 1
        self._done = False

    def next(self, inputs: Inputs) -> Sending | None:
        """The sending of the next chunk; None when all have been sent."""
        return None if self._done else self._send(*collect(inputs, self._most))

    async def next_async(self, inputs: Any) -> Sending | None:
        """The same; the iterator may be an asynchronous one."""
        if self._done or not hasattr(inputs, "__anext__"):
            return self.next(inputs)
        return self._send(*await _collect(inputs, self._most))

    @property
    def _most(self) -> int:
        # The first one tells how large they are.
        return max(1, min(BATCH, BATCH_BYTES // self._mean_bytes)) if self._at else 1

    def _send(self, batch: list[Input], last: bool) -> Sending:  # noqa: FBT001 - what `collect` gave
        self._done = last
        many = payload.pack_many(self._target.inputs(batch), role="call", main=self._target.main)
        self._mean_bytes = max(1, len(many.buffer) // max(1, len(batch)))
        if len(many.buffer) > FRAME_BYTES:
            start, self._at = self._at, self._at + len(batch)
            return self._record_each(batch, start, last)
        head: dict[str, Any] = {"call": self.id, "verb": self._verb, **self._target.head}
        head |= {"d": many.lengths, "start": self._at, **self._parent}
        self._at += len(batch)
        if last:
            head["total"] = self._at
        return self._record(head, many.buffer)

    async def _record_each(self, batch: list[Input], start: int, last: bool) -> None:  # noqa: FBT001 - as above
        """Large inputs one by one, as `.spawn` sends its own."""
        for index, (args, kwargs) in enumerate(batch, start):
            packed = Packed(self._target, args, kwargs)
            head: dict[str, Any] = {"call": self.id, "verb": self._verb, **self._target.head}
            head |= {"d": [packed.size], "start": index, **self._parent}
            if last and index == self._at - 1:
                head["total"] = self._at
            try:
                await self._target.client.ask_surely("call", head, *packed.buffers, fds=packed.fds)
            finally:
                packed.close()

    async def _record(self, head: dict[str, Any], data: bytes) -> None:
        await self._target.client.ask_surely("call", head, data)


def spawn_map(target: Target, *, verb: Verb) -> SpawnedMap:
    """A map to be recorded."""
    return SpawnedMap(target, verb)


async def _collect(inputs: AsyncIterator[Input], most: int) -> tuple[list[Input], bool]:
    batch: list[Input] = []
    async for item in inputs:
        batch.append(item)
        if len(batch) >= most:
            return batch, False
    return batch, True
