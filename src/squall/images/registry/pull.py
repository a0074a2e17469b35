"""Pull: blobs out of a registry, verified, taken up where they broke, several at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

from squall.blobs.digest import Digester
from squall.images.registry.complaint import NotNow, Unsound, refusal, told
from squall.images.registry.exchange import Response
from squall.images.registry.head import length_of, range_start
from squall.images.registry.nouns import RemoteBlob
from squall.images.registry.reference import Reference, wire_form
from squall.images.registry.session import MOST_TEXT, Question, Session, Tries, about

T = TypeVar("T")
Take = Callable[[RemoteBlob, AsyncIterator[bytes]], Awaitable[T]]

# Bytes; a connection that brought so many was a good one, and its end counts as the first.
_MUCH: Final = 16 << 20


async def blob(session: Session, image: Reference, wanted: RemoteBlob) -> AsyncGenerator[bytes, None]:
    """The parts of a blob; the last is held back until digest and size are right. Raises the errors of registries."""
    question = about(image, "GET", f"blobs/{wire_form(wanted.digest)}", doing="asked for a blob of")
    tries = Tries(session.settings.patience, question.where)
    digester = Digester()
    held = b""
    begun = 0
    while True:
        try:
            async with contextlib.aclosing(_from(session, question, wanted, digester.size)) as parts:
                async for part in parts:
                    digester.update(part)
                    if held:
                        yield held
                    held = part
            break
        except NotNow as not_now:
            if digester.size - begun >= _MUCH:
                tries.renew()
            begun = digester.size
            await tries.after(not_now)
    with told(question.where):
        if digester.digest() != wanted.digest:
            raise Unsound(f"its bytes have the digest {digester.digest()}, and {wanted.digest} was wanted")
    if held:
        yield held


async def many(
    session: Session, image: Reference, blobs: Iterable[RemoteBlob], take: Take[T]
) -> dict[RemoteBlob, T]:
    """What `take` gives for each blob, so many at a time as the settings say. The first failure ends the others."""
    waiting = iter(dict.fromkeys(blobs))
    taken: dict[RemoteBlob, T] = {}

    async def work() -> None:
        for wanted in waiting:
            async with contextlib.aclosing(blob(session, image, wanted)) as parts:
                taken[wanted] = await take(wanted, parts)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(session.settings.at_once):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return taken


async def _from(
    session: Session, question: Question, wanted: RemoteBlob, start: int
) -> AsyncGenerator[bytes, None]:
    """The parts from byte `start` to the end, which is exactly where it must be. Raises NotNow."""
    if start == wanted.size and start > 0:
        return
    if start:
        question = replace(question, headers=(("Range", f"bytes={start}-{wanted.size - 1}"),))
    with told(question.where):
        async with await session.open(question) as response:
            skipped = await _begin(response, question, wanted, start)
            at = start - skipped
            async with contextlib.aclosing(response.parts()) as parts:
                async for part in parts:
                    at += len(part)
                    if at > wanted.size:
                        raise Unsound(f"a blob of {wanted.size} bytes goes on after its end")
                    fresh = part[max(0, len(part) - (at - start)) :]
                    if fresh:
                        yield fresh
    if at < wanted.size:
        raise NotNow(f"it ended {wanted.size - at} bytes too early")


async def _begin(response: Response, question: Question, wanted: RemoteBlob, start: int) -> int:
    """How many bytes that are here already come again. Raises Unsound, NotNow, the errors of registries."""
    length = length_of(response.head)
    if response.status == 206 and start:
        if range_start(response.head) != start:
            raise Unsound(f"asked for the bytes from {start}, it gives others")
        if length not in {None, wanted.size - start}:
            raise Unsound(f"asked for the last {wanted.size - start} bytes, it gives {length}")
        return 0
    if response.status == 200:
        # Some registries know no ranges, and begin anew.
        if length not in {None, wanted.size}:
            raise Unsound(f"a blob of {wanted.size} bytes has {length} there")
        return start
    raise refusal(question.where, response.status, await response.read(MOST_TEXT), question.doing)
