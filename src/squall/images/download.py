"""Download: one file of the web into the store, asked for again where that may help."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.images.registry.complaint import NotNow, Unsound
from squall.images.registry.connection import Dialer
from squall.images.registry.exchange import Request
from squall.images.registry.location import Location, parse_location
from squall.images.registry.patience import Patience
from squall.images.registry.redirects import followed
from squall.model.errors import DigestMismatch, ImageDownloadError

MOST_BYTES: Final = 32 << 30
_MOST_REDIRECTS: Final = 8

_PATIENCE: Final = Patience(tries=3)


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
        request = Request(method="GET", at=self._at)
        async with await followed(request, self._dialer, self._patience, most=_MOST_REDIRECTS) as response:
            if response.status != 200:
                raise Unsound(f"it answers with the status {response.status}")
            async for part in response.parts():
                self._came += len(part)
                if self._came > MOST_BYTES:
                    raise Unsound(f"it is longer than {MOST_BYTES} bytes")
                yield part


def _failed(at: Location, why: str, remedy: str | None) -> ImageDownloadError:
    # The path stays out: it may be what opens the place to anybody.
    return ImageDownloadError(
        f"a file of {at} could not be downloaded: {why}",
        remedy=remedy or "check the address and the network, and build again",
    )
