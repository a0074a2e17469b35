"""Suites: the parts of a release that mirrors carry, and the packages that are in them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from squall.blobs.blob_store import BlobStore
from squall.images.debian.catalog import Catalog
from squall.images.debian.how import How, Say
from squall.images.debian.mirror import Announced, Mirrors, answer_wrong, is_private
from squall.images.debian.nouns import WantedDebian
from squall.images.debian.release import MAX_RELEASE_BYTES, IndexFile, Release, parse_release, signed_text
from squall.images.oci.unpacking import unpacking_of
from squall.model.errors import (
    DebianReleaseNotFound,
    DigestMismatch,
    LayerInvalid,
    LayerTooLarge,
    MirrorNotTrusted,
)

T = TypeVar("T")

_RELEASE_FILE: Final = "InRelease"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One suite of one mirror. name: its folder below `dists`."""

    mirror: str
    name: str
    release: Release
    index: IndexFile

    @property
    def index_at(self) -> str:
        """The address of its index: by digest where the mirror keeps it so, as another one may take its name any moment."""
        path = self.index.path
        if self.release.by_digest:
            path = f"{path.rpartition('/')[0]}/by-hash/SHA256/{self.index.digest}"
        return f"{_folder(self.mirror, self.name)}/{path}"


async def find_suites(wanted: WantedDebian, mirrors: Mirrors, say: Say, how: How) -> list[Suite]:
    """The suites of the release that the mirrors carry, the release itself among them.

    Raises DebianReleaseNotFound, MirrorNotTrusted, MirrorAnswerWrong, MirrorUnreachable.
    """
    _check_trust(wanted, say, how)
    asked = [(mirror, name) for mirror in wanted.mirrors for name in wanted.suites]
    at_once = asyncio.Semaphore(how.at_once)

    async def release_of(mirror: str, name: str) -> Release | None:
        async with at_once:
            return await _release(mirror, name, mirrors, how)

    releases = await _all_of([release_of(mirror, name) for mirror, name in asked])
    found = {place: release for place, release in zip(asked, releases, strict=True) if release is not None}
    if wanted.release not in {name for _, name in found}:
        raise DebianReleaseNotFound(
            f"there is no release {wanted.release} at {_listed(wanted.mirrors)}",
            release=wanted.release,
        )
    for name in wanted.suites[1:]:
        if name not in {known for _, known in found}:
            say(f"warning: no mirror carries {name}: the root is made without it")
    return [_suite(mirror, name, release, wanted.architecture) for (mirror, name), release in found.items()]


async def read_catalog(suites: Sequence[Suite], mirrors: Mirrors, blobs: BlobStore) -> Catalog:
    """The packages of all suites. Raises MirrorAnswerWrong, MirrorUnreachable, and what the store raises."""
    catalog = Catalog()
    for suite in suites:
        announced = Announced(at=suite.index_at, digest=suite.index.digest, size=suite.index.size)
        await keep_file(announced, mirrors, blobs)
        try:
            await _read(suite, catalog, blobs)
        except (ValueError, LayerInvalid, LayerTooLarge) as error:
            raise answer_wrong(
                suite.index_at, f"it is no index of the packages of {suite.name}: {error}"
            ) from error
    return catalog


async def keep_file(announced: Announced, mirrors: Mirrors, blobs: BlobStore) -> None:
    """Has the store keep this file, which is fetched unless it is there."""
    if await blobs.has_many((announced.digest,), renew=True):
        return
    try:
        async with contextlib.aclosing(mirrors.file(announced)) as parts:
            await blobs.put(parts, announced=announced.digest, forced=False)
    except DigestMismatch as error:
        raise answer_wrong(announced.at, error.message) from error


def _check_trust(wanted: WantedDebian, say: Say, how: How) -> None:
    if how.verifier is not None:
        return
    for mirror in wanted.mirrors:
        if not is_private(mirror):
            raise MirrorNotTrusted(
                f"the mirror {mirror} is spoken to in plain http, and nothing here verifies what it says",
                mirror=mirror,
            )
    say(
        "warning: neither gpgv nor Debian's keys are here: what the mirrors say is trusted for coming by https"
    )


async def _release(mirror: str, name: str, mirrors: Mirrors, how: How) -> Release | None:
    at = f"{_folder(mirror, name)}/{_RELEASE_FILE}"
    message = await mirrors.document(at, MAX_RELEASE_BYTES)
    if message is None:
        return None
    if how.verifier is not None:
        try:
            text = await how.verifier.signed(message)
        except ValueError as error:
            raise MirrorNotTrusted(
                f"what the mirror {mirror} says of {name} is not to be trusted: {error}", mirror=mirror
            ) from error
    else:
        text = message.decode("utf-8", "replace")
    try:
        release = parse_release(signed_text(text))
    except ValueError as error:
        raise answer_wrong(at, str(error)) from error
    # What is signed for one suite must not be given out as another one.
    if name not in release.names:
        raise answer_wrong(at, f"it is about {' or '.join(sorted(release.names))}")
    if release.until_s is not None and release.until_s < how.clock():
        raise answer_wrong(
            at, "it is out of date: newer packages may be kept back, or this machine's clock is wrong"
        )
    return release


def _suite(mirror: str, name: str, release: Release, architecture: str) -> Suite:
    index = release.packages(architecture)
    if architecture not in release.architectures or index is None:
        raise DebianReleaseNotFound(
            f"{name} has no packages for {architecture}, only for {_listed(release.architectures)}",
            release=name,
        )
    return Suite(mirror=mirror, name=name, release=release, index=index)


async def _read(suite: Suite, catalog: Catalog, blobs: BlobStore) -> None:
    reader = catalog.reading(suite.mirror)
    unpacking = unpacking_of(suite.index.path.removeprefix(suite.index.path.partition(".")[0]))
    most = suite.index.unpacked_bytes
    size = 0

    def read(data: bytes) -> None:
        nonlocal size
        for part in unpacking.feed(data):
            size += len(part)
            if most is not None and size > most:
                raise ValueError(f"it unpacks to more than the {most} bytes that are announced")
            reader.feed(part)

    def end() -> None:
        for part in unpacking.end():
            reader.feed(part)
        reader.end()

    async for data in blobs.stream(suite.index.digest):
        await asyncio.to_thread(read, data)
    await asyncio.to_thread(end)


async def _all_of(asked: list[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of these give, in their order. The first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one) for one in asked]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in running]


def _folder(mirror: str, name: str) -> str:
    return f"{mirror}/dists/{name}"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)[:300]
