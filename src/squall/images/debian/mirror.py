"""Mirror: files fetched from mirrors of the distribution, taken up where they broke."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from squall.blobs.digest import Digest
from squall.images.registry.complaint import NotNow, Unsound
from squall.images.registry.connection import Dialer
from squall.images.registry.exchange import Request, Response
from squall.images.registry.head import length_of, range_start
from squall.images.registry.location import is_loopback, parse_location
from squall.images.registry.patience import Patience
from squall.images.registry.redirects import followed
from squall.model.errors import MirrorAnswerWrong, MirrorUnreachable

_MOST_REDIRECTS: Final = 5
_NOT_THERE: Final = frozenset({403, 404, 410})
# Bytes; a connection that brought so many was a good one, and its end counts as the first.
_MUCH: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A file as it must be. at: its address; size in bytes."""

    at: str
    digest: Digest
    size: int


def is_private(address: str) -> bool:
    """Whether nobody on the way can change what comes from there: https, or a mirror on this machine."""
    at = parse_location(address)
    return at.scheme == "https" or is_loopback(at.host)


class Mirrors:
    """Fetches files. environ: for proxies and certificates.

    fetched: bytes that came. Raises MirrorUnreachable after `patience.tries` tries, MirrorAnswerWrong, and InvalidError for
    settings of the machine that make no sense.
    """

    def __init__(self, patience: Patience, environ: Mapping[str, str]) -> None:
        self.fetched = 0
        self._patience = patience
        self._dialer = Dialer(patience, environ)

    async def document(self, address: str, most: int) -> bytes | None:
        """A small file whose digest nobody knows; None where the mirror has none there. most: its bytes."""
        tried = 0
        with _told(address):
            while True:
                try:
                    async with await self._followed(address) as response:
                        if response.status in _NOT_THERE:
                            return None
                        if response.status != 200:
                            raise Unsound(f"it has the status {response.status}")
                        data = await response.read(most)
                        self.fetched += len(data)
                        return data
                except NotNow as not_now:
                    tried += 1
                    await self._pause(address, not_now, tried)

    async def file(self, wanted: Announced) -> AsyncGenerator[bytes, None]:
        """The parts of a file, of exactly the announced size. Whoever keeps them verifies the digest."""
        at = tried = begun = 0
        with _told(wanted.at):
            while True:
                try:
                    async with contextlib.aclosing(self._from(wanted, at)) as parts:
                        async for part in parts:
                            at += len(part)
                            self.fetched += len(part)
                            yield part
                    return
                except NotNow as not_now:
                    tried = 1 if at - begun >= _MUCH else tried + 1
                    begun = at
                    await self._pause(wanted.at, not_now, tried)

    async def _from(self, wanted: Announced, start: int) -> AsyncGenerator[bytes, None]:
        """The parts from byte `start` to the end, which is exactly where it must be."""
        if start == wanted.size and start > 0:
            return
        headers = (("Range", f"bytes={start}-{wanted.size - 1}"),) if start else ()
        async with await self._followed(wanted.at, headers) as response:
            at = _begin(response, wanted, start)
            async with contextlib.aclosing(response.parts()) as parts:
                async for part in parts:
                    at += len(part)
                    if at > wanted.size:
                        raise Unsound(f"a file of {wanted.size} bytes goes on after its end")
                    # Some servers know no ranges, and begin anew.
                    fresh = part[max(0, min(len(part), start - (at - len(part)))) :]
                    if fresh:
                        yield fresh
        if at < wanted.size:
            raise NotNow(f"it ended {wanted.size - at} bytes too early")

    async def _followed(self, address: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
        request = Request(method="GET", at=parse_location(address), headers=headers)
        return await followed(request, self._dialer, self._patience, most=_MOST_REDIRECTS)

    async def _pause(self, address: str, failed: NotNow, tried: int) -> None:
        """Waits until it may be asked again. Raises MirrorUnreachable where it was asked often enough."""
        patience = self._patience
        too_long = failed.asked_s is not None and failed.asked_s > patience.longest_pause_s
        if failed.remedy is not None or tried >= patience.tries or too_long:
            times = f" ({tried} tries)" if tried > 1 else ""
            raise MirrorUnreachable(
                f"the mirror {parse_location(address)} does not give {_short(address)}{times}: {failed.why}",
                remedy=failed.remedy,
                mirror=str(parse_location(address)),
            ) from None
        drawn = random.random()  # noqa: S311 - spreads those who failed at the same moment
        await asyncio.sleep(patience.pause_s(tried, asked_s=failed.asked_s, drawn=drawn))


@contextlib.contextmanager
def _told(address: str) -> Iterator[None]:
    """Has what breaks the rules raised as a MirrorAnswerWrong."""
    try:
        yield
    except Unsound as unsound:
        raise answer_wrong(address, str(unsound)) from None


def answer_wrong(address: str, why: str) -> MirrorAnswerWrong:
    """What came from this address is not to be used. why: a clause."""
    mirror = str(parse_location(address))
    return MirrorAnswerWrong(
        f"what the mirror {mirror} gives as {_short(address)} is not to be used: {why}", mirror=mirror
    )


def _begin(response: Response, wanted: Announced, start: int) -> int:
    """Where the body begins."""
    length = length_of(response.head)
    if response.status == 206 and start:
        if range_start(response.head) != start:
            raise Unsound(f"asked for the bytes from {start}, it gives others")
        return start
    if response.status == 200:
        if length not in {None, wanted.size}:
            raise Unsound(f"it has {length} bytes, and {wanted.size} are announced")
        return 0
    if response.status in _NOT_THERE:
        raise Unsound("it is announced, and not there")
    raise Unsound(f"it has the status {response.status}")


def _short(address: str) -> str:
    return "/".join(parse_location(address).target.split("?")[0].split("/")[-2:])[:160]
