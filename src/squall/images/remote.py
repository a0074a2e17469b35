"""Remote: whole images out of a registry into the store, and out of the store into a registry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest, digest_of
from squall.images.oci.compression import Compression
from squall.images.oci.layer_in import Announced, LayerIn, layer_in
from squall.images.oci.layer_out import LayerOut
from squall.images.oci.nouns import (
    INDEXES,
    MAX_DOCUMENT_BYTES,
    OCI_CONFIG,
    OCI_LAYERS,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    ImageManifest,
    Platform,
    choose,
    config_bytes,
    manifest_bytes,
    read_config,
    read_index,
    read_manifest,
)
from squall.images.registry.client import RegistryClient
from squall.images.registry.nouns import ManifestBytes, RemoteBlob
from squall.images.registry.reference import Reference
from squall.images.shown import Below
from squall.model.errors import ImageDocumentInvalid

Say = Callable[[str], None]

_MOST_LAYERS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """An image that is in the store.

    image: its name, with the digest of the manifest that is meant, so that the same image can be asked for again.
    layers: what became of each layer, the lowest first.
    """

    image: Reference
    config: ImageConfig
    layers: tuple[LayerIn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """An image that a registry has. manifest: its digest there; sent: how many of its blobs were not there before."""

    manifest: Digest
    sent: int


async def pull_image(
    client: RegistryClient, image: Reference, blobs: BlobStore, platform: Platform, say: Say
) -> Pulled:
    """Has the store keep an image: its layers as chunks and manifests. say: gets a line for each step.

    Layers are fetched several at once, kept packed, and unpacked in their order while others still come: a pull that was broken off goes on
    with what is there. The packed ones go with a later sweep. platform: which image of an index is meant.

    Raises the errors of registries, ImageDocumentInvalid, NotFoundError where nothing is for this platform, LayerInvalid,
    LayerTooLarge, DigestMismatch, and what the store raises. No manifest of a layer is kept that was not seen to be right.
    """
    found, manifest = await _manifest_of(client, image, platform)
    image = replace(image, digest=found.digest)
    config = read_config(await _document(client, image, manifest.config))
    if len(config.diff_ids) != len(manifest.layers):
        raise ImageDocumentInvalid(
            f"the image has {len(manifest.layers)} layers, and its config tells of {len(config.diff_ids)}"
        )
    fetch = _Fetch(client, image, blobs, manifest.layers, say)
    try:
        layers = await _unpacked(fetch, manifest.layers, config, blobs, say)
    finally:
        await fetch.end()
    return Pulled(image=image, config=config, layers=tuple(layers))


async def push_image(
    client: RegistryClient,
    image: Reference,
    blobs: BlobStore,
    layers: Sequence[Digest],
    config: ImageConfig,
) -> Pushed:
    """Has a registry keep an image under the tag of `image`, and gives the digest of its manifest there.

    layers: the digests of their manifests in the store, the lowest first. config: how it is run; the digests of its layers
    are filled in here. The same layers and config give the same image on machines with the same zlib. Packed layers go through the store, and with a later
    sweep. Raises the errors of registries, RegistryRefused among them, LayerInvalid, and what the store raises.
    """
    sent = 0
    described: list[Descriptor] = []
    diff_ids: list[Digest] = []
    for layer in layers:
        out = LayerOut(layer, blobs)
        packed = await blobs.put(out.parts(), forced=False)
        written = out.written
        remote = RemoteBlob(packed, written.size)
        sent += await client.push_blob(image, remote, partial(blobs.stream, packed))
        kind = OCI_LAYERS[Compression.GZIP]
        described.append(Descriptor(media_type=kind, digest=packed, size=written.size))
        diff_ids.append(written.diff_id)
    document = config_bytes(replace(config, diff_ids=tuple(diff_ids)))
    about_config = Descriptor(media_type=OCI_CONFIG, digest=digest_of(document), size=len(document))
    sent += await client.push_blob(
        image, RemoteBlob(about_config.digest, about_config.size), partial(_once, document)
    )
    manifest = manifest_bytes(ImageManifest(config=about_config, layers=tuple(described)))
    return Pushed(manifest=await client.push_manifest(image, manifest, OCI_MANIFEST), sent=sent)


async def _manifest_of(
    client: RegistryClient, image: Reference, platform: Platform
) -> tuple[ManifestBytes, ImageManifest]:
    """The manifest of the one image that is meant."""
    found = await client.manifest(image)
    if _is_index(found):
        chosen = choose(read_index(found.data), platform)
        found = await client.manifest(replace(image, digest=chosen.digest))
    manifest = read_manifest(found.data)
    if len(manifest.layers) > _MOST_LAYERS:
        raise ImageDocumentInvalid(
            f"the image has {len(manifest.layers)} layers, and {_MOST_LAYERS} are the most"
        )
    return found, manifest


def _is_index(found: ManifestBytes) -> bool:
    """Whether it names images, and is none. A registry that does not say what it gives leaves that to the document."""
    if found.media_type:
        return found.media_type in INDEXES
    try:
        return "manifests" in json.loads(found.data)
    except (ValueError, TypeError, RecursionError):
        return False


async def _document(client: RegistryClient, image: Reference, descriptor: Descriptor) -> bytes:
    if descriptor.size > MAX_DOCUMENT_BYTES:
        raise ImageDocumentInvalid(f"the config of the image has more than {MAX_DOCUMENT_BYTES} bytes")
    remote = RemoteBlob(descriptor.digest, descriptor.size)
    return b"".join([part async for part in client.blob(image, remote)])


class _Fetch:
    """The packed layers of one image on their way into the store."""

    def __init__(
        self,
        client: RegistryClient,
        image: Reference,
        blobs: BlobStore,
        layers: Sequence[Descriptor],
        say: Say,
    ) -> None:
        self._blobs = blobs
        self._say = say
        # The same layer may lie in an image twice.
        self._arrived = {layer.digest: asyncio.Event() for layer in layers}
        wanted = {RemoteBlob(layer.digest, layer.size): None for layer in layers}
        self._task = asyncio.ensure_future(client.fetch_many(image, wanted, self._take))

    async def wait(self, layer: Digest) -> None:
        """Returns once this one is in the store. Raises what ended the fetching before."""
        arrived = asyncio.ensure_future(self._arrived[layer].wait())
        try:
            await asyncio.wait({arrived, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrived.cancel()
        if not self._arrived[layer].is_set():
            await self._task

    async def end(self) -> None:
        """Fetches nothing more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _take(self, remote: RemoteBlob, parts: AsyncIterator[bytes]) -> None:
        here = await self._blobs.has_many([remote.digest], renew=True)
        if not here:
            self._say(f"fetching {remote.digest[:12]}: {_size(remote.size)}")
            await self._blobs.put(parts, announced=remote.digest, forced=False)
        self._arrived[remote.digest].set()


async def _unpacked(
    fetch: _Fetch, layers: Sequence[Descriptor], config: ImageConfig, blobs: BlobStore, say: Say
) -> list[LayerIn]:
    """Each layer taken in, over what those before it show."""
    taken: list[LayerIn] = []
    below = Below()
    for number, (layer, diff_id) in enumerate(zip(layers, config.diff_ids, strict=True), 1):
        await fetch.wait(layer.digest)
        if taken:
            below.add(await blobs.get(taken[-1].manifest))
        announced = Announced(digest=layer.digest, size=layer.size, diff_id=diff_id)
        one = await layer_in(blobs.stream(layer.digest), blobs, announced=announced, lower=below.at)
        say(f"layer {number} of {len(layers)}: {one.entries} paths, {_size(one.files_bytes)}")
        for note in one.notes:
            say(f"  /{note.path}: {note.what}")
        taken.append(one)
    return taken


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
