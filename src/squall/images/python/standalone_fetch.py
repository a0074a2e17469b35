"""Standalone fetch: a published build loaded, verified, and kept as a layer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.manifest import Attributes, File, Manifest
from squall.blobs.manifest_bytes import decode, encode
from squall.images.oci.layer_in import Announced, layer_in
from squall.images.python.contents import laid
from squall.images.python.nouns import PREFIX, Archive, Base, Declined, Wanted, minor_of
from squall.images.python.standalone import MAX_ARCHIVE_BYTES, RELEASES, standalone_for
from squall.images.registry.complaint import NotNow, Where, answer_wrong, refusal, told
from squall.images.registry.credentials import Credentials
from squall.images.registry.location import parse_location
from squall.images.registry.patience import Patience
from squall.images.registry.session import Question, Session, Tries
from squall.images.registry.settings import RegistrySettings
from squall.model.errors import LayerInvalid

# Short: where it cannot be had, the next in the order waits.
_PATIENCE: Final = Patience(
    tries=2, connect_s=5.0, answer_s=20.0, silence_s=10.0, slowest=16_384, window_s=20.0
)
_TOP: Final = "python"  # what all paths of an archive begin with


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where builds are loaded from. builds: which there are. releases: an address with a folder for each release. environ: for proxies and
    certificates.
    """

    builds: Callable[[Wanted, Base], Archive | Declined] = standalone_for
    releases: str = RELEASES
    patience: Patience = _PATIENCE
    environ: Mapping[str, str] = field(default_factory=dict)


async def fetched(
    archive: Archive, source: Source, blobs: BlobStore, base: Mapping[str, Attributes]
) -> Digest:
    """The digest of a layer with this build at PREFIX, once it is kept. base: as `laid` takes it.

    Nothing is kept of an archive whose bytes are not those that its makers publish. Raises ImageDownloadError and what is below it where it cannot be had, DigestMismatch, LayerInvalid and
    LayerTooLarge for what is no such archive, and what the store raises.
    """
    loading = _Loading(archive, source)
    unpacked = decode(await blobs.get(await loading.layer(blobs)))
    layer = laid(unpacked, _TOP, base)
    _check(layer, archive)
    return await blobs.put(encode(layer))


def _check(layer: Manifest, archive: Archive) -> None:
    name = f"python{minor_of(archive.version)}"
    files = {entry.path for entry in layer.entries if isinstance(entry, File)}
    for path in (f"{PREFIX}/bin/{name}", f"{PREFIX}/lib/{name}/os.py"):
        if path not in files:
            raise LayerInvalid(f"{archive.name} has no {path.removeprefix(PREFIX + '/')}", entry=path)


class _NoKeys:
    """Nobody's credentials: what is published is for strangers."""

    async def find(self, registry: str, repository: str) -> Credentials | None:  # noqa: ARG002 - a Keys is asked with them
        return None


class _Loading:
    """One build while it is loaded."""

    def __init__(self, archive: Archive, source: Source) -> None:
        self._archive = archive
        self._base = parse_location(source.releases)
        path = self._base.target.strip("/").split("/")
        self._where = Where(self._base.authority, "/".join(path[:2]))
        self._patience = source.patience
        self._session = Session(
            self._base, RegistrySettings(patience=source.patience), _NoKeys(), source.environ
        )

    async def layer(self, blobs: BlobStore) -> Digest:
        """The archive as it is, kept as a layer; asked for again where that may help."""
        tries = Tries(self._patience, self._where)
        while True:
            try:
                async with contextlib.aclosing(self._parts()) as parts:
                    taken = await layer_in(parts, blobs, announced=Announced(digest=self._archive.digest))
            except NotNow as not_now:
                await tries.after(not_now)
            else:
                return taken.manifest

    async def _parts(self) -> AsyncGenerator[bytes, None]:
        question = self._question()
        came = 0
        with told(self._where):
            async with await self._session.open(question) as response:
                if response.status != 200:
                    raise refusal(self._where, response.status, b"", question.doing)
                async for part in response.parts():
                    came += len(part)
                    if came > MAX_ARCHIVE_BYTES:
                        raise answer_wrong(self._where, f"it is longer than {MAX_ARCHIVE_BYTES} bytes")
                    yield part

    def _question(self) -> Question:
        return Question(
            where=self._where,
            method="GET",
            target=f"{self._base.target.rstrip('/')}/{self._archive.release}/{quote(self._archive.name)}",
            scopes=(),
            doing=f"asked for {self._archive.name} of",
        )
