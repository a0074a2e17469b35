"""Unpack: a root of the distribution out of its packages, in one manifest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.manifest import Attributes
from squall.images.debian.closure import packages_for
from squall.images.debian.configure import KEYRING, commands_for, settings_files
from squall.images.debian.deb import DebReader
from squall.images.debian.dpkg_record import Record, admin_files
from squall.images.debian.how import How, Say
from squall.images.debian.into_root import IntoRoot
from squall.images.debian.mirror import Announced, Mirrors, answer_wrong
from squall.images.debian.nouns import Installed, Package, Unpacked, WantedDebian
from squall.images.debian.suites import Suite, find_suites, keep_file, read_catalog
from squall.images.oci.kept_tree import KeptTree
from squall.model.errors import (
    DebianPackageInvalid,
    FeatureUnavailable,
    LayerInvalid,
    LayerTooLarge,
)

_TOLD_EVERY: Final = 25
_MIB: Final = 1 << 20


async def unpack_debian(wanted: WantedDebian, blobs: BlobStore, say: Say, how: How | None = None) -> Unpacked:
    """Fetches the packages of a root and unpacks them into one manifest; nothing of them is run, or written as files.

    What was fetched stays in the store, by its digest, for the next time and for one that was broken off. Memory stays below
    some 250 MiB, of which the names of all packages of a release take 90 for a while.

    Raises MirrorUnreachable, MirrorAnswerWrong, MirrorNotTrusted, DebianReleaseNotFound, PackageNotFound,
    DebianPackageInvalid, ImageBuildError, FeatureUnavailable, and what the store raises.
    """
    how = how or How()
    mirrors = Mirrors(how.patience, how.environ)
    suites = await find_suites(wanted, mirrors, say, how)
    packages = await _chosen(suites, wanted, mirrors, blobs)
    root = KeptTree(blobs, how.limits)
    try:
        into = IntoRoot(root, how.limits)
        async with _fetching(packages, mirrors, blobs, (say, how)) as fetched:
            records = [await _into(into, root, package, blobs, how) async for package in fetched]
        epoch_s = max(suite.release.made_s for suite in suites)
        _add_own(root, into, records, suites, wanted.architecture)
        manifest = await root.kept()
    finally:
        await root.close()
    say(f"{len(records)} packages unpacked: {root.files_bytes // _MIB} MiB in {root.entries} paths")
    return Unpacked(
        manifest=manifest,
        packages=tuple(
            Installed(name=package.name, version=package.version, architecture=package.architecture)
            for package in packages
        ),
        commands=commands_for(records, epoch_s),
        epoch_s=epoch_s,
        entries=root.entries,
        files_bytes=root.files_bytes,
        fetched_bytes=mirrors.fetched,
    )


async def _chosen(
    suites: Sequence[Suite], wanted: WantedDebian, mirrors: Mirrors, blobs: BlobStore
) -> tuple[Package, ...]:
    catalog = await read_catalog(suites, mirrors, blobs)
    try:
        return await asyncio.to_thread(packages_for, catalog, wanted.packages)
    except ValueError as error:
        raise answer_wrong(suites[0].index_at, str(error)) from error


@contextlib.asynccontextmanager
async def _fetching(
    packages: Sequence[Package], mirrors: Mirrors, blobs: BlobStore, told: tuple[Say, How]
) -> AsyncIterator[AsyncIterator[Package]]:
    """Fetches all packages, some at once, and gives each in its order, once it is in the store."""
    say, how = told
    ready: dict[str, asyncio.Event] = {package.name: asyncio.Event() for package in packages}
    waiting = iter(packages)
    size = sum(package.size for package in packages)
    done = 0

    async def work() -> None:
        nonlocal done
        for package in waiting:
            address = f"{package.at}/{package.filename}"
            await keep_file(Announced(at=address, digest=package.digest, size=package.size), mirrors, blobs)
            ready[package.name].set()
            done += 1
            if done % _TOLD_EVERY == 0 or done == len(packages):
                say(f"{done} of {len(packages)} packages are here ({mirrors.fetched / _MIB:.1f} MiB fetched)")

    async def in_order() -> AsyncIterator[Package]:
        for package in packages:
            await ready[package.name].wait()
            yield package

    say(f"{len(packages)} packages, {size / _MIB:.1f} MiB")
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(how.at_once):
                group.create_task(work())
            yield in_order()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _into(into: IntoRoot, root: KeptTree, package: Package, blobs: BlobStore, how: How) -> Record:
    """Unpacks one package, which is in the store. Raises DebianPackageInvalid, FeatureUnavailable."""
    reader = DebReader(how.limits)

    def take(data: bytes) -> Iterator[None]:
        for found in reader.feed(data):
            into.take(found)
            yield

    try:
        into.begin(package)
        async for data in blobs.stream(package.digest):
            await root.through(take(data))
        reader.end()
        return into.end()
    except FeatureUnavailable as error:
        raise FeatureUnavailable(
            f"the package {package} cannot be unpacked: {error.message}",
            remedy=error.remedy,
            feature=error.feature,
        ) from error
    except (LayerInvalid, LayerTooLarge, ValueError) as error:
        raise DebianPackageInvalid(
            f"the package {package} cannot be unpacked: {error}", package=package.name
        ) from error


def _add_own(
    root: KeptTree, into: IntoRoot, records: Sequence[Record], suites: Sequence[Suite], architecture: str
) -> None:
    """Adds what no package has in it, as old as the release."""
    mtime_ns = max(suite.release.made_s for suite in suites) * 1_000_000_000
    into.link_merged(mtime_ns)
    sources = [(suite.mirror, suite.name) for suite in suites]
    own = (*admin_files(records, architecture), *settings_files(sources, keyring=into.has(KEYRING)))
    for file in own:
        mode = 0o755 if file.executable else 0o644
        root.file(file.path, Attributes(mode=mode, mtime_ns=mtime_ns), file.data)
