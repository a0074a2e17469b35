"""Whole images, to a real registry and back."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from squall.blobs.digest import Bytes, Digest, digest_of
from squall.blobs.manifest import Directory, File, Manifest, Whiteout
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.snapshot import snapshot
from squall.blobs.stack import diff, flattened
from squall.images.oci.compression import Compression
from squall.images.oci.nouns import (
    OCI_CONFIG,
    OCI_LAYERS,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    ImageIndex,
    Platform,
    index_bytes,
    manifest_bytes,
    read_manifest,
)
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain
from squall.images.registry.nouns import MANIFEST_TYPES, RemoteBlob
from squall.images.registry.patience import Patience
from squall.images.registry.reference import Reference, parse_reference
from squall.images.registry.settings import RegistrySettings
from squall.images.remote import Pushed, pull_image, push_image
from squall.model.errors import (
    DigestMismatch,
    DiskFull,
    ImageDocumentInvalid,
    LayerInvalid,
    NotFoundError,
    RegistryNotFound,
)
from tests.linux.images.registry_server import registry_server

pytestmark = [pytest.mark.needs("registry"), pytest.mark.timeout(120)]

HERE = Platform(os="linux", architecture="amd64")
CONFIG = ImageConfig(
    platform=HERE,
    diff_ids=(),
    env=(("PATH", "/usr/bin"), ("EMPTY", "")),
    entrypoint=("/bin/run",),
    cmd=("--help",),
    workdir="/srv",
    user="1000:1000",
    labels={"a": "b"},
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("remote") / "registry") as address:
        yield address


def client() -> RegistryClient:
    settings = RegistrySettings(patience=Patience(first_pause_s=0.01), at_once=2)
    return RegistryClient(settings, Keychain({}), {})


def named(address: str, name: str) -> Reference:
    return parse_reference(f"{address}/{name}")


def quiet(_line: str) -> None:
    """Progress that no test asks for."""


async def layers_in(blobs: MemoryBlobs, top: Path) -> list[Digest]:
    """Three layers: a tree; one that changes and hides of it; one over a directory of which it tells nothing."""
    (top / "usr" / "lib").mkdir(parents=True)
    (top / "usr" / "lib" / "big").write_bytes(os.urandom(1_300_000))
    (top / "usr" / "old").write_text("old")
    os.link(top / "usr" / "old", top / "usr" / "older")
    (top / "bin").symlink_to("usr/lib")
    first = decode(await blobs.get((await snapshot(top, blobs)).manifest))
    (top / "usr" / "old").unlink()
    (top / "usr" / "older").unlink()
    (top / "usr" / "new").write_text("new")
    (top / "usr" / "new").chmod(0o4755)
    second = decode(await blobs.get((await snapshot(top, blobs)).manifest))
    (top / "usr" / "lib" / "later").write_text("later")
    third = decode(await blobs.get((await snapshot(top, blobs)).manifest))
    upper, over = diff(first, second), diff(second, third)
    assert any(isinstance(entry, Whiteout) for entry in upper.entries)
    return [await blobs.put(encode(layer)) for layer in (first, upper, over)]


async def shown_by(blobs: MemoryBlobs, layers: list[Digest]) -> Manifest:
    return flattened([decode(await blobs.get(layer)) for layer in layers])


async def pushed_image(address: str, name: str, top: Path) -> tuple[MemoryBlobs, list[Digest], Pushed]:
    blobs = MemoryBlobs()
    layers = await layers_in(blobs, top)
    return blobs, layers, await push_image(client(), named(address, name), blobs, layers, CONFIG)


def test_an_image_comes_back_as_it_was_sent(registry: str, tmp_path: Path) -> None:
    async def main() -> None:
        blobs, layers, pushed = await pushed_image(registry, "round/trip:v1", tmp_path)
        assert pushed.sent == 4
        again = await push_image(client(), named(registry, "round/trip:v2"), blobs, layers, CONFIG)
        assert again == Pushed(manifest=pushed.manifest, sent=0)
        said: list[str] = []
        store = MemoryBlobs()
        pulled = await pull_image(client(), named(registry, "round/trip:v1"), store, HERE, said.append)
        assert str(pulled.image).endswith(f"round/trip:v1@sha256:{pushed.manifest}")
        assert replace(pulled.config, diff_ids=()) == CONFIG
        assert [layer.manifest for layer in pulled.layers] == layers
        assert await shown_by(store, [layer.manifest for layer in pulled.layers]) == await shown_by(
            blobs, layers
        )
        assert sum(line.startswith("fetching ") for line in said) == 3
        assert [line.partition(":")[0] for line in said if line.startswith("layer")] == [
            "layer 1 of 3",
            "layer 2 of 3",
            "layer 3 of 3",
        ]
        said.clear()
        assert (await pull_image(client(), pulled.image, store, HERE, said.append)).layers == pulled.layers
        assert not any(line.startswith("fetching ") for line in said), "what is here is not fetched again"

    asyncio.run(main())


def test_an_index_leads_to_the_image_of_this_machine(registry: str, tmp_path: Path) -> None:
    async def main() -> None:
        _, layers, pushed = await pushed_image(registry, "many/platforms:mine", tmp_path)
        image = named(registry, "many/platforms:all")
        size = len((await client().manifest(named(registry, "many/platforms:mine"))).data)
        own = Descriptor(media_type=OCI_MANIFEST, digest=pushed.manifest, size=size, platform=HERE)
        index = index_bytes(ImageIndex(manifests=(own,)))
        await client().push_manifest(image, index, MANIFEST_TYPES[0])
        pulled = await pull_image(client(), image, MemoryBlobs(), HERE, quiet)
        assert [layer.manifest for layer in pulled.layers] == layers
        assert pulled.image.digest == pushed.manifest
        other = Platform(os="linux", architecture="riscv64")
        with pytest.raises(NotFoundError, match="not made for linux/riscv64; it is for linux/amd64"):
            await pull_image(client(), image, MemoryBlobs(), other, quiet)

    asyncio.run(main())


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def push_as_it_is(address: str, name: str, layers: list[bytes], diff_ids: list[Digest]) -> Reference:
    """An image whose parts are there, whatever they are."""
    speaker, image = client(), named(address, name)
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{one}" for one in diff_ids]}
    config = json.dumps({"os": HERE.os, "architecture": HERE.architecture, "rootfs": rootfs}).encode()
    for data in (config, *layers):
        await speaker.push_blob(image, RemoteBlob(digest_of(data), len(data)), partial(once, data))
    plain = OCI_LAYERS[Compression.NONE]
    about = [
        {"mediaType": kind, "digest": f"sha256:{digest_of(data)}", "size": len(data)}
        for kind, data in ((OCI_CONFIG, config), *((plain, layer) for layer in layers))
    ]
    said = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": about[0], "layers": about[1:]}
    document = json.dumps(said).encode()
    await speaker.push_manifest(image, document, OCI_MANIFEST)
    return image


ARCHIVE = bytes(10_240)  # an empty one
NONE = b"no archive at all" * 99


@pytest.mark.parametrize(
    ("layer", "told", "error"),
    [
        (NONE, [digest_of(NONE)], LayerInvalid),
        (ARCHIVE, [digest_of(NONE)], DigestMismatch),
        (ARCHIVE, [], ImageDocumentInvalid),
    ],
    ids=["no archive", "another archive", "no layers told"],
)
def test_what_is_not_as_it_was_announced_leaves_nothing_that_has_a_name(
    layer: bytes, told: list[Digest], error: type[Exception], registry: str
) -> None:
    async def main() -> None:
        image = await push_as_it_is(registry, f"crooked/{error.__name__.lower()}:v1", [layer], told)
        blobs = MemoryBlobs()
        with pytest.raises(error):
            await pull_image(client(), image, blobs, HERE, quiet)
        assert [info.digest async for info in blobs.blobs()] in ([], [digest_of(layer)])

    asyncio.run(main())


def archive(*members: tuple[str, dict[str, Any]]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, given in members:
            member = tarfile.TarInfo(name)
            for attribute, value in given.items():
                setattr(member, attribute, value)
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return data.getvalue()


def test_what_a_layer_does_not_say_comes_from_the_layers_below(registry: str) -> None:
    below = archive(
        ("home", {"type": tarfile.DIRTYPE, "mode": 0o700, "uid": 7}), ("home/file", {"size": 600_000})
    )
    above = archive(("home/other", {"type": tarfile.LNKTYPE, "linkname": "home/file"}))

    async def main() -> None:
        layers = [below, above]
        image = await push_as_it_is(registry, "left/out:v1", layers, [digest_of(one) for one in layers])
        blobs = MemoryBlobs()
        pulled = await pull_image(client(), image, blobs, HERE, quiet)
        shown = await shown_by(blobs, [layer.manifest for layer in pulled.layers])
        found = {entry.path: entry for entry in shown.entries}
        home, file, other = found["home"], found["home/file"], found["home/other"]
        assert isinstance(home, Directory)
        assert (home.attributes.mode, home.attributes.uid) == (0o700, 7)
        assert isinstance(file, File)
        assert isinstance(other, File)
        assert other.parts == file.parts

    asyncio.run(main())


class Stuck(MemoryBlobs):
    """A store in which one blob never arrives."""

    def __init__(self, slow: Digest) -> None:
        super().__init__()
        self._slow = slow

    async def put(
        self, data: Bytes | AsyncIterable[Bytes], *, announced: Digest | None = None, forced: bool = True
    ) -> Digest:
        if announced == self._slow:
            await asyncio.Event().wait()
        return await super().put(data, announced=announced, forced=forced)


def test_a_layer_that_is_wrong_ends_what_is_still_fetched(registry: str) -> None:
    async def main() -> None:
        layers = [NONE, ARCHIVE]
        image = await push_as_it_is(registry, "wrong/first:v1", layers, [digest_of(one) for one in layers])
        before = asyncio.all_tasks()
        with pytest.raises(LayerInvalid):
            async with asyncio.timeout(30):
                await pull_image(client(), image, Stuck(digest_of(ARCHIVE)), HERE, quiet)
        assert asyncio.all_tasks() == before

    asyncio.run(main())


class Failing(MemoryBlobs):
    """A store that cannot keep one blob."""

    def __init__(self, refused: Digest) -> None:
        super().__init__()
        self._refused = refused

    async def put(
        self, data: Bytes | AsyncIterable[Bytes], *, announced: Digest | None = None, forced: bool = True
    ) -> Digest:
        if announced == self._refused:
            raise DiskFull("there is no room left")
        return await super().put(data, announced=announced, forced=forced)


def test_a_layer_that_cannot_be_kept_ends_the_others(registry: str, tmp_path: Path) -> None:
    async def main() -> None:
        _, _, pushed = await pushed_image(registry, "gone/layer:v1", tmp_path)
        with pytest.raises(RegistryNotFound):
            await pull_image(client(), named(registry, "gone/layer:v9"), MemoryBlobs(), HERE, quiet)
        manifest = read_manifest((await client().manifest(named(registry, "gone/layer:v1"))).data)
        assert digest_of(manifest_bytes(manifest)) == pushed.manifest
        before = asyncio.all_tasks()

        with pytest.raises(DiskFull, match="no room left"):
            await pull_image(
                client(), named(registry, "gone/layer:v1"), Failing(manifest.layers[1].digest), HERE, quiet
            )
        assert asyncio.all_tasks() == before

    asyncio.run(main())
