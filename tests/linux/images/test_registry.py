"""A real registry: what is sent to it comes back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from squall.blobs.digest import Digest, digest_of
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain, Login
from squall.images.registry.nouns import MANIFEST_TYPES, RemoteBlob
from squall.images.registry.patience import Patience
from squall.images.registry.reference import Reference, parse_reference, wire_form
from squall.images.registry.settings import RegistrySettings
from squall.model.errors import RegistryAccessDenied, RegistryNotFound, RegistryRefused
from tests.linux.images.registry_server import LOGINS, registry_server

pytestmark = [pytest.mark.needs("registry"), pytest.mark.timeout(120)]

MANIFEST = MANIFEST_TYPES[1]
ADA = Login("ada", "hunter22secret")
SETTINGS = RegistrySettings(patience=Patience(first_pause_s=0.01), chunk_bytes=1 << 20)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("open") / "registry") as address:
        yield address


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("guarded") / "registry", logins=LOGINS) as address:
        yield address


def a_client(address: str = "", login: Login | None = None) -> RegistryClient:
    return RegistryClient(SETTINGS, Keychain({}, {address: login} if login else {}), {})


def named(address: str, name: str) -> Reference:
    return parse_reference(f"{address}/{name}")


def source(data: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    return parts


async def whole(client: RegistryClient, image: Reference, blob: RemoteBlob) -> bytes:
    return b"".join([part async for part in client.blob(image, blob)])


def some(size: int, seed: int) -> tuple[bytes, RemoteBlob]:
    data = random.Random(seed).randbytes(size)
    return data, RemoteBlob(digest_of(data), size)


async def push_image(client: RegistryClient, image: Reference, seed: int) -> tuple[bytes, list[RemoteBlob]]:
    """A whole image of a config and two layers; its manifest and blobs."""
    blobs = []
    for size, chunked in ((700, False), (3_500_000, True), (2_000_001, False)):
        data, blob = some(size, seed + size)
        assert await client.push_blob(image, blob, source(data), chunked=chunked)
        blobs.append(blob)
    described = [
        {"mediaType": kind, "digest": wire_form(blob.digest), "size": blob.size}
        for kind, blob in zip(
            ["application/vnd.oci.image.config.v1+json"] + ["application/vnd.oci.image.layer.v1.tar"] * 2,
            blobs,
            strict=True,
        )
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
    data = json.dumps(manifest).encode()
    assert await client.push_manifest(image, data, MANIFEST) == digest_of(data)
    return data, blobs


@pytest.mark.parametrize("login", [None, ADA])
def test_an_image_comes_back_as_it_was_sent(login: Login | None, registry: str, guarded: str) -> None:
    async def main() -> None:
        address = guarded if login else registry
        client = a_client(address, login)
        image = named(address, "team/app:v1")
        data, blobs = await push_image(client, image, seed=1)
        other = a_client(address, login)
        got = await other.manifest(image)
        assert (got.data, got.digest, got.media_type) == (data, digest_of(data), MANIFEST)
        pinned = named(address, f"team/app@sha256:{got.digest}")
        assert (await other.manifest(pinned)).data == data
        head = await other.head_manifest(image)
        assert (head.digest, head.size, head.media_type) == (got.digest, len(data), MANIFEST)

        async def take(blob: RemoteBlob, parts: AsyncIterator[bytes]) -> str:
            digester = hashlib.sha256()
            async for part in parts:
                digester.update(part)
            return digester.hexdigest()

        assert await other.fetch_many(image, blobs, take) == {blob: blob.digest for blob in blobs}
        await client.push_manifest(named(address, "team/app:v2"), data, MANIFEST)
        assert sorted(await other.tags(image)) == ["v1", "v2"]

    asyncio.run(main())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_blob_that_is_there_is_not_sent_again_and_is_taken_over_by_another_repository(
    chunked: bool, registry: str
) -> None:
    async def main() -> None:
        client = a_client()
        data, blob = some(1_500_000, seed=2 + chunked)
        first, second = named(registry, f"mount/from{chunked:d}"), named(registry, f"mount/to{chunked:d}")
        started = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal started
            started += 1
            yield data

        assert await client.push_blob(first, blob, counted, chunked=chunked) is True
        assert await client.push_blob(first, blob, counted, chunked=chunked) is False
        assert await client.has_blob(second, blob.digest) is False
        taken = await client.push_blob(
            second, blob, counted, from_repository=first.repository, chunked=chunked
        )
        assert taken is False
        assert started == 1
        assert await whole(client, second, blob) == data

    asyncio.run(main())


def test_a_blob_of_nowhere_is_sent_although_a_mount_was_asked_for(registry: str) -> None:
    async def main() -> None:
        data, blob = some(50_000, seed=5)
        client = a_client()
        image = named(registry, "mount/else")
        assert await client.push_blob(image, blob, source(data), from_repository="not/there") is True
        assert await whole(client, image, blob) == data

    asyncio.run(main())


def test_a_cut_connection_is_taken_up_by_the_real_ranges(registry: str) -> None:
    async def main() -> None:
        data, blob = some(3_000_000, seed=6)
        await a_client().push_blob(named(registry, "resumed/app"), blob, source(data))
        cuts: list[int] = []

        async def cutting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Passes everything on, and ends each connection but the third after a megabyte."""
            cuts.append(0)
            left = 1 << 20 if len(cuts) < 3 else 1 << 30
            request = (await reader.readuntil(b"\r\n\r\n")).replace(
                writer_address.encode(), registry.encode()
            )
            far_reader, far_writer = await asyncio.open_connection(*registry.split(":"))
            far_writer.write(request)
            with contextlib.suppress(OSError):
                while left > 0 and (part := await far_reader.read(min(left, 65_536))):
                    left -= len(part)
                    writer.write(part)
                    await writer.drain()
            far_writer.close()
            writer.close()

        async with await asyncio.start_server(cutting, "127.0.0.1", 0) as between:
            writer_address = f"127.0.0.1:{between.sockets[0].getsockname()[1]}"
            assert await whole(a_client(), named(writer_address, "resumed/app"), blob) == data
        assert len(cuts) == 3

    asyncio.run(main())


def test_what_is_not_there_and_what_is_wrong_is_told_by_name(registry: str) -> None:
    async def main() -> None:
        client = a_client()
        with pytest.raises(RegistryNotFound, match="MANIFEST_UNKNOWN"):
            await client.manifest(named(registry, "no/such:tag"))
        with pytest.raises(RegistryNotFound):
            await client.head_manifest(named(registry, "no/such:tag"))
        with pytest.raises(RegistryNotFound, match="BLOB_UNKNOWN"):
            await whole(client, named(registry, "no/such"), RemoteBlob(Digest("0" * 64), 5))
        with pytest.raises(RegistryNotFound, match="NAME_UNKNOWN"):
            await client.tags(named(registry, "no/such"))
        with pytest.raises(RegistryRefused, match="MANIFEST"):
            await client.push_manifest(named(registry, "no/such:tag"), b"no manifest", MANIFEST)

    asyncio.run(main())


def test_who_has_no_login_or_a_wrong_one_is_not_let_in(guarded: str) -> None:
    async def main() -> None:
        image = named(guarded, "team/app:v1")
        for login in (None, Login("ada", "wrong"), Login("eve", ADA.password)):
            with pytest.raises(RegistryAccessDenied) as caught:
                await a_client(guarded, login).manifest(image)
            assert ADA.password not in str(caught.value)
            with pytest.raises(RegistryAccessDenied):
                await a_client(guarded, login).push_blob(image, RemoteBlob(digest_of(b"x"), 1), source(b"x"))

    asyncio.run(main())


def test_a_login_of_docker_opens_the_registry(guarded: str, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "config.json").write_text(
            json.dumps({"auths": {guarded: {"auth": "YWRhOmh1bnRlcjIyc2VjcmV0"}}}), encoding="utf-8"
        )
        client = RegistryClient(SETTINGS, None, {"DOCKER_CONFIG": str(tmp_path)})
        data, blob = some(1_000, seed=8)
        assert await client.push_blob(named(guarded, "by/docker"), blob, source(data)) is True

    asyncio.run(main())


def test_memory_stays_bounded_whatever_the_size(registry: str) -> None:
    async def main() -> None:
        size = 128 << 20
        piece = bytes(1 << 20)
        digester = hashlib.sha256()
        for _ in range(size >> 20):
            digester.update(piece)
        blob = RemoteBlob(Digest(digester.hexdigest()), size)
        image = named(registry, "large/app")

        async def zeros() -> AsyncIterator[bytes]:
            for _ in range(size >> 20):
                yield piece

        client = a_client()
        came = 0
        tracemalloc.start()
        try:
            await client.push_blob(image, blob, zeros, chunked=True)
            async for part in client.blob(image, blob):
                came += len(part)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert came == size
        assert most < 16 << 20

    asyncio.run(main())
