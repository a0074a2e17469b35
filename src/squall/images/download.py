"""Download: one file of the web into the store, asked for again where that may help."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.images.registry.complaint import NotNow, Unsound
from squall.images.registry.connection import Dialer
from squall.images.registry.exchange import Request, Response, exchange
from squall.images.registry.head import retry_after_s
from squall.images.registry.location import Location, Reach, parse_location, why_not_led
from squall.images.registry.patience import AGAIN, Patience
from squall.model.errors import DigestMismatch, ImageDownloadError

MOST_BYTES: Final = 32 << 30

_PATIENCE: Final = Patience(tries=3)
_MOST_REDIRECTS: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is in the store, and its size in bytes."""

    digest: Digest
    size: int


async def download(
    address: str,
    blobs: BlobStore,
    environ: Mapping[str, str],
    *,
    wanted: Digest | None = None,
    patience: Patience = _PATIENCE,
) -> Fetched:
    """The file at an address of http or https. environ: for proxies and certificates. wanted: the digest that it must have.

    It is led on by the server to where as many can reach at least, and never from https to plain http. Raises ImageDownloadError, and
    what the store raises; then nothing is kept.
    """
    at = parse_location(address)
    load = _Load(at, Dialer(patience, environ), patience)
    for tried in range(1, patience.tries + 1):
        try:
            return await load.into(blobs, wanted)
        except NotNow as not_now:
            too_long = not_now.asked_s is not None and not_now.asked_s > patience.longest_pause_s
            if tried == patience.tries or not_now.remedy is not None or too_long:
                raise _failed(at, not_now.why, not_now.remedy) from None
            drawn = random.random()  # noqa: S311 - spreads those who failed at the same moment
            await asyncio.sleep(patience.pause_s(tried, asked_s=not_now.asked_s, drawn=drawn))
        except Unsound as unsound:
            raise _failed(at, str(unsound), None) from None
        except DigestMismatch as mismatch:
            raise ImageDownloadError(
                f"what {at} gives is not what is asked for: its sha256 is {mismatch.arrived}, not {wanted}",
                remedy="if the file has changed on purpose, write its new checksum; if not, do not use it",
            ) from None
    raise _failed(at, "it was never asked", None)


class _Load:
    """One file while it is loaded."""

    def __init__(self, at: Location, dialer: Dialer, patience: Patience) -> None:
        self._at = at
        self._dialer = dialer
        self._patience = patience
        self._came = 0

    async def into(self, blobs: BlobStore, wanted: Digest | None) -> Fetched:
        self._came = 0
        async with contextlib.aclosing(self._parts()) as parts:
            digest = await blobs.put(parts, announced=wanted)
        return Fetched(digest, self._came)

    async def _parts(self) -> AsyncGenerator[bytes, None]:
        async with await self._open() as response:
            if response.status != 200:
                raise Unsound(f"it answers with the status {response.status}")
            async for part in response.parts():
                self._came += len(part)
                if self._came > MOST_BYTES:
                    raise Unsound(f"it is longer than {MOST_BYTES} bytes")
                yield part

    async def _open(self) -> Response:
        """The answer at the end of the redirects."""
        request = Request(method="GET", at=self._at)
        reach: Reach | None = None
        for _ in range(_MOST_REDIRECTS + 1):
            response, reached = await exchange(request, self._dialer, self._patience, reach)
            reach = reached if reach is None else reach
            if response.status in AGAIN:
                asked_s = retry_after_s(response.head, time.time())
                response.close()
                raise NotNow(f"it answers with the status {response.status}", asked_s=asked_s)
            if response.status not in _REDIRECTS:
                return response
            response.close()
            request = replace(request, at=self._led(response))
        raise Unsound(f"it leads on more than {_MOST_REDIRECTS} times")

    def _led(self, response: Response) -> Location:
        location = response.head.get("location")
        if not location:
            raise Unsound("it leads on, and does not say where")
        try:
            at = parse_location(location, response.at)
        except ValueError as error:
            raise Unsound(f"it leads to {error}") from None
        if (why := why_not_led(at, registry=self._at)) is not None:
            raise Unsound(why)
        return at


def _failed(at: Location, why: str, remedy: str | None) -> ImageDownloadError:
    # The path stays out: it may be what opens the place to anybody.
    return ImageDownloadError(
        f"a file of {at} could not be downloaded: {why}",
        remedy=remedy or "check the address and the network, and build again",
    )
