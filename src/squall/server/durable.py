"""Durable calls: on disk before their id is answered, gone on with after a restart, their outcomes kept."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.model.call import CallState, OutcomeKind
from squall.model.errors import Error, FunctionNotFound, InputCancelled, InvalidError, NotFoundError
from squall.model.ids import CallId
from squall.server.calls import Calls
from squall.server.records import CallRecord, FunctionRecord
from squall.state import records
from squall.state.state_store import StateStore
from squall.wire.codec import Buffer, Frame
from squall.wire.stream import Stream

_log = logging.getLogger("squall.server")
CHUNK = 1024
_PIECE = 4 * 2**20

Spawn = Callable[[Coroutine[Any, Any, None]], object]
Outcome = tuple[CallRecord, int, list[Any], Any, list[Buffer], tuple[int, ...]]


class Durable:
    """Calls that outlive their client and this server."""

    def __init__(self, store: StateStore, blobs: BlobStore, calls: Calls, spawn: Spawn) -> None:
        self._store = store
        self._blobs = blobs
        self._calls = calls
        self._spawn = spawn
        self._waiters: dict[tuple[CallId, int], list[Stream]] = {}
        self._outcomes: deque[Outcome] = deque()
        self._some = asyncio.Event()
        calls.on_outcomes = self._take

    # -- in

    async def submit(self, call: CallRecord, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        """Records inputs of a call, answers, and lets them run. Sent again, it changes nothing.

        Raises FunctionNotFound, DiskFull and its like; nothing has been accepted then.
        """
        fds = frame.take_fds()
        try:
            if call.function not in self._calls.functions:
                raise FunctionNotFound(f"there is no function {call.function!r} here, or its app has stopped")
            record = records.CallRecord(
                id=call.id,
                function=call.function,
                verb=call.verb,
                created_s=time.time(),
                inputs=head.get("total"),
            )
            sizes = head.get("d", [])
            chunks = [await self._chunk(head.get("start", 0), sizes, frame.payload, fds)] if sizes else []
            await self._store.record_call(record, chunks)
        finally:
            for fd in fds:
                os.close(fd)
        stream.end({"call": call.id})
        await self._run(call, chunks, head.get("total"))

    async def resume(self, function: FunctionRecord) -> None:
        """A function is known (again): its calls on record go on with the inputs that have no outcome."""
        for found in await self._store.open_calls():
            if found.call.function != function.function.id or found.call.id in self._calls.calls:
                continue
            call = CallRecord(found.call.id, found.call.function, found.call.verb, durable=True)
            at = 0
            for start, stop in (*found.missing, (found.call.inputs or 0, found.call.inputs or 0)):
                if at < start:
                    self._calls.submit(call, {"start": at, "d": [], "skip": [[at, start]]}, Frame(0))  # type: ignore[arg-type] - no frame is behind it
                for low in range(start, stop, CHUNK):
                    chunks = await self._store.inputs(call.id, start=low, stop=min(stop, low + CHUNK))
                    await self._run(call, list(chunks), None)
                at = stop
            await self._run(call, [], found.call.inputs)

    def note(self, call: CallRecord) -> None:
        """Notes a call that is not durable for the history."""
        self._store.history(
            [records.CallRecord(id=call.id, function=call.function, verb=call.verb, created_s=time.time())]
        )

    def why_busy(self) -> str | None:
        """Why the server may not end, as far as durable work goes: open calls are in memory, and said there."""
        return None

    # -- out

    async def answer(self, stream: Stream, call: CallId, index: int, *, wait: bool) -> None:
        """Ends `stream` with the outcome of one input, now or once it is there.

        Raises NotFoundError for a call that is not on record, InvalidError for an index that it does not have.
        """
        known = await self._store.call(call)
        if known is None or not known.durable:
            raise NotFoundError(
                f"no call {call} is on record",
                remedy="calls made with `.spawn` are kept for 7 days after they ended; others are not",
            )
        if index < 0 or (known.inputs is not None and index >= known.inputs):
            raise InvalidError(f"{call} has {known.inputs} inputs, so none has the index {index}")
        self._waiters.setdefault((call, index), []).append(stream)
        if not await self._give(call, index):
            if known.state is CallState.CANCELLED:
                self._waiters.pop((call, index), None)
                raise InputCancelled(f"{call} was cancelled", remedy="call again if it was not meant")
            if not wait:
                self._waiters[call, index].remove(stream)
                stream.end({})

    async def info(self, call: CallId) -> dict[str, Any]:
        """What is known of a call. Raises NotFoundError."""
        known = await self._store.call(call)
        if known is None:
            raise NotFoundError(f"no call {call} is on record")
        return {"inputs": known.inputs or 0, "done": known.done, "failed": known.failed, "state": known.state}

    async def cancel(self, call: CallId) -> None:
        """Ends a call, in memory and on record."""
        self._calls.cancel(call)
        await self._store.end_call(call, state=CallState.CANCELLED, at_s=time.time())
        for known, index in [key for key in self._waiters if key[0] == call]:
            for stream in self._waiters.pop((known, index)):
                stream.fail(InputCancelled(f"{call} was cancelled", remedy="call again if it was not meant"))

    async def write_outcomes(self) -> None:
        """Records outcomes as they come, for ever; who waits for one is told after it is on disk."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._outcomes:
                call, start, sizes, kinds, parts, fds = self._outcomes.popleft()
                try:
                    items = await self._items(start, sizes, kinds, parts, fds)
                    await self._store.record_outcomes(call.id, items)
                except Error as problem:
                    _log.error("outcomes of %s could not be recorded: %s", call.id, problem)  # noqa: TRY400 - the message says it all
                    continue
                finally:
                    for fd in fds:
                        os.close(fd)
                for index in range(start, start + len(sizes)):
                    if (call.id, index) in self._waiters:
                        await self._give(call.id, index)

    # -- inside

    def _take(
        self,
        call: CallRecord,
        start: int,
        sizes: list[Any],
        kinds: Any,
        parts: list[Buffer],
        fds: tuple[int, ...],
    ) -> None:
        self._outcomes.append((call, start, sizes, kinds, parts, tuple(map(os.dup, fds))))
        self._some.set()

    async def _run(self, call: CallRecord, chunks: list[records.InputChunk], total: int | None) -> None:
        known = self._calls.calls.get(call.id, call)
        known.durable = True
        for chunk in chunks:
            sizes, parts, fds = await self._revived(chunk)
            head: dict[str, Any] = {"start": chunk.start, "d": sizes}
            self._calls.submit(known, head, Frame(0, payload=b"".join(parts), fds=fds))  # type: ignore[arg-type] - made here, not received
        if total is not None and known.function in self._calls.functions:
            self._calls.submit(known, {"start": total, "d": [], "total": total}, Frame(0))  # type: ignore[arg-type] - made here, not received

    async def _chunk(
        self, start: int, sizes: list[Any], payload: Buffer, fds: tuple[int, ...]
    ) -> records.InputChunk:
        lengths = tuple(
            size if type(size) is int else sum(size) if type(size) is list else 0 for size in sizes
        )
        blobs: dict[int, str] = {}
        for offset, size in enumerate(sizes):
            if type(size) is dict:
                blobs[start + offset] = await self._keep(fds[size["f"]])
        heads = (
            tuple(json.dumps(size) for size in sizes) if any(type(size) is not int for size in sizes) else ()
        )
        return records.InputChunk(
            start=start, lengths=lengths, payload=bytes(payload), blobs=blobs, heads=heads
        )

    async def _revived(self, chunk: records.InputChunk) -> tuple[list[Any], list[bytes], tuple[int, ...]]:
        """Inputs from their record, as the data path has them: what is a blob comes back as a sealed file."""
        if not chunk.heads:
            return list(chunk.lengths), [bytes(chunk.payload)], ()
        sizes: list[Any] = []
        fds: list[int] = []
        for offset, text in enumerate(chunk.heads):
            size = json.loads(text)
            if type(size) is dict:
                fds.append(await self._fetch(Digest(chunk.blobs[chunk.start + offset])))
                size["f"] = len(fds) - 1
            sizes.append(size)
        return sizes, [bytes(chunk.payload)], tuple(fds)

    async def _items(
        self, start: int, sizes: list[Any], kinds: Any, parts: list[Buffer], fds: tuple[int, ...]
    ) -> list[records.OutcomeRecord]:
        data = memoryview(b"".join(parts))
        at, now = 0, time.time()
        items: list[records.OutcomeRecord] = []
        for offset, size in enumerate(sizes):
            length = size if type(size) is int else sum(size) if type(size) is list else 0
            items.append(
                records.OutcomeRecord(
                    index=start + offset,
                    attempt=1,
                    kind=OutcomeKind(kinds[offset] if kinds else 0),
                    ended_s=now,
                    head=json.dumps(size),
                    payload=bytes(data[at : at + length]),
                    blob=await self._keep(fds[size["f"]]) if type(size) is dict else None,
                )
            )
            at += length
        return items

    async def _give(self, call: CallId, index: int) -> bool:
        found = await self._store.outcomes(call, start=index, stop=index + 1)
        if not found:
            return False
        outcome = found[0]
        size = json.loads(outcome.head)
        for stream in self._waiters.pop((call, index), []):
            fds: tuple[int, ...] = ()
            if outcome.blob is not None:
                fds = (await self._fetch(Digest(outcome.blob)),)
                size["f"] = 0
            if stream.live:
                stream.end({"o": [index, [size], [int(outcome.kind)]]}, bytes(outcome.payload), fds=fds)
            for fd in fds:
                os.close(fd)
        return True

    async def _keep(self, fd: int) -> str:
        return await self._blobs.put(_pieces(fd))

    async def _fetch(self, digest: Digest) -> int:
        """A sealed memory file with a blob's bytes."""
        fd = os.memfd_create("squall-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        async for piece in self._blobs.stream(digest):
            await asyncio.to_thread(_write_all, fd, piece)
        seal(fd)
        return fd


def seal(fd: int) -> None:
    """Makes a memory file one that nobody can change any more."""
    fcntl.fcntl(
        fd,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL,
    )


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


async def _pieces(fd: int) -> AsyncIterator[bytes]:
    size = os.fstat(fd).st_size
    at = 0
    while at < size:
        piece = await asyncio.to_thread(os.pread, fd, min(_PIECE, size - at), at)
        if not piece:
            raise InvalidError("a value ended before its announced size")
        at += len(piece)
        yield piece
