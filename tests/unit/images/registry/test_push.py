from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from squall.blobs.digest import digest_of
from squall.images.registry.nouns import MANIFEST_TYPES, RemoteBlob
from squall.images.registry.reference import wire_form
from squall.images.registry.settings import RegistrySettings
from squall.model.errors import (
    DigestMismatch,
    Error,
    RegistryAnswerWrong,
    RegistryRefused,
    RegistryUnreachable,
)
from tests.unit.images.registry.hostile import (
    IMPATIENT,
    QUICK,
    Asked,
    Server,
    Wire,
    blob_of,
    client,
    image,
    serving,
)

DATA = random.Random(9).randbytes(250_000)
BLOB = blob_of(DATA)
SETTINGS = RegistrySettings(patience=QUICK, chunk_bytes=100_000)


def source(data: bytes = DATA, *, starts: list[int] | None = None) -> Callable[[], AsyncIterator[bytes]]:
    async def parts() -> AsyncIterator[bytes]:
        if starts is not None:
            starts.append(1)
        for start in range(0, len(data), 33_333):
            yield data[start : start + 33_333]

    return parts


class Store:
    """A registry that takes uploads. breaks: how many times it drops the connection in the middle of one."""

    def __init__(self, *, breaks: int = 0, least_chunk: int = 0, mounts: int = 202) -> None:
        self.breaks = breaks
        self.least_chunk = least_chunk
        self.mounts = mounts
        self.uploads: list[bytearray] = []
        self.kept: dict[str, bytes] = {}
        self.server = Server()

    async def answer(self, asked: Asked, wire: Wire) -> None:
        parts = urlsplit(asked.target)
        query = parse_qs(parts.query)
        if asked.method == "HEAD":
            known = self.kept.get(parts.path.rpartition("/")[2])
            await wire.reply(200 if known is not None else 404)
        elif asked.method == "POST" and "mount" in query and self.mounts != 202:
            await wire.reply(self.mounts)
        elif asked.method == "POST":
            self.uploads.append(bytearray())
            await self._goes_on(wire)
        elif asked.method == "PATCH":
            if self.breaks:
                self.breaks -= 1
                return
            place = f"{len(self.uploads[-1])}-{len(self.uploads[-1]) + len(asked.body) - 1}"
            assert asked.headers["content-range"] == place
            self.uploads[-1] += asked.body
            await self._goes_on(wire)
        else:
            if self.breaks:
                self.breaks -= 1
                return
            data = bytes(self.uploads[-1]) + asked.body
            assert wire_form(digest_of(data)) == query["digest"][0]
            self.kept[query["digest"][0]] = data
            await wire.reply(201)

    async def _goes_on(self, wire: Wire) -> None:
        location = f"/v2/team/app/blobs/uploads/{len(self.uploads)}?state={len(self.uploads[-1])}"
        kept = f"0-{len(self.uploads[-1]) - 1}" if self.uploads[-1] else ""
        least = str(self.least_chunk) if self.least_chunk else ""
        await wire.reply(202, Location=location, Range=kept, OCI_Chunk_Min_Length=least)


async def push(store: Store, *, chunked: bool = False, data: bytes = DATA, **more: str) -> bool:
    mine = client(settings=SETTINGS)
    return await mine.push_blob(
        image(store.server.address), blob_of(data), source(data), chunked=chunked, **more
    )


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("data", [DATA, b"", b"x", DATA[:100_000]])
def test_a_blob_is_kept_and_not_sent_twice(chunked: bool, data: bytes) -> None:
    async def main() -> None:
        store = Store()
        async with serving(store.answer) as store.server:
            assert await push(store, chunked=chunked, data=data) is True
            assert list(store.kept.values()) == [data]
            sent = len(store.server.asked)
            assert await push(store, chunked=chunked, data=data) is False
            assert [asked.method for asked in store.server.asked[sent:]] == ["HEAD"]

    asyncio.run(main())


def test_chunks_are_as_long_as_was_said_or_as_the_registry_wants() -> None:
    async def main() -> None:
        for least, lengths in ((0, [100_000, 100_000, 50_000]), (200_000, [200_000, 50_000])):
            store = Store(least_chunk=least)
            async with serving(store.answer) as store.server:
                await push(store, chunked=True)
                assert [len(asked.body) for asked in store.server.asked if asked.method == "PATCH"] == lengths

    asyncio.run(main())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_broken_upload_begins_anew_and_is_given_up_in_the_end(chunked: bool) -> None:
    async def main() -> None:
        store = Store(breaks=QUICK.tries - 1)
        async with serving(store.answer) as store.server:
            assert await push(store, chunked=chunked) is True
            assert len(store.uploads) == QUICK.tries
        store = Store(breaks=100)
        async with serving(store.answer) as store.server:
            with pytest.raises(RegistryUnreachable):
                await push(store, chunked=chunked)
            assert len(store.uploads) == QUICK.tries
            assert store.kept == {}

    asyncio.run(main())


def test_a_blob_of_another_repository_is_taken_over_or_else_sent() -> None:
    async def main() -> None:
        for status, sent in ((201, False), (202, True), (403, True), (405, True)):
            store = Store(mounts=status)
            async with serving(store.answer) as store.server:
                assert await push(store, from_repository="team/other") is sent
                mount = store.server.asked[1]
                assert parse_qs(urlsplit(mount.target).query) == {
                    "mount": [wire_form(BLOB.digest)],
                    "from": ["team/other"],
                }
                assert bool(store.kept) is sent

    asyncio.run(main())


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", DATA[:-1] + b"x", b"", DATA * 3])
def test_a_source_with_other_bytes_is_told_of_and_nothing_is_kept(chunked: bool, data: bytes) -> None:
    async def main() -> None:
        store = Store()
        async with serving(store.answer) as store.server:
            with pytest.raises(DigestMismatch):
                await client(settings=SETTINGS).push_blob(
                    image(store.server.address), BLOB, source(data), chunked=chunked
                )
            assert store.kept == {}

    asyncio.run(main())


def test_what_the_source_raises_passes() -> None:
    async def main() -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield DATA[:1000]
            raise PermissionError("the disk")

        store = Store()
        async with serving(store.answer) as store.server:
            with pytest.raises(PermissionError):
                await client(settings=SETTINGS).push_blob(image(store.server.address), BLOB, broken)
            assert len(store.uploads) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (202, {}, RegistryAnswerWrong),
        (202, {"Location": "http://203.0.113.9/eavesdropped"}, RegistryAnswerWrong),
        (307, {"Location": "/elsewhere"}, RegistryAnswerWrong),
        (405, {}, RegistryRefused),
        (200, {}, RegistryAnswerWrong),
    ],
)
def test_an_upload_that_cannot_begin_says_why(
    status: int, headers: dict[str, str], kind: type[Error]
) -> None:
    async def main() -> None:
        store = Store()

        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.reply(404 if asked.method == "HEAD" else status, b"", **headers)

        async with serving(answer) as store.server:
            with pytest.raises(kind):
                await push(store)
            assert [asked.method for asked in store.server.asked] == ["HEAD", "POST"]

    asyncio.run(main())


def test_a_registry_that_refuses_early_is_heard_although_not_all_was_sent() -> None:
    async def main() -> None:
        data = bytes(8 << 20)

        async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"PUT"):
                writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
                await asyncio.sleep(5)
            elif head.startswith(b"HEAD"):
                writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 202 Go\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answers, "127.0.0.1", 0) as listening:
            address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            with pytest.raises(RegistryRefused, match="413"):
                mine = client(settings=RegistrySettings(patience=IMPATIENT))
                await mine.push_blob(image(address), blob_of(data), source(data))

    asyncio.run(main())


def test_an_upload_elsewhere_does_not_get_the_login() -> None:
    async def main() -> None:
        async def takes(asked: Asked, wire: Wire) -> None:
            await wire.reply(201)

        async with serving(takes) as store:

            async def answer(asked: Asked, wire: Wire) -> None:
                if asked.headers.get("authorization") != "Bearer t":
                    if asked.target == "/token?" + asked.target.partition("?")[2]:
                        await wire.reply(200, b'{"token": "t"}')
                    else:
                        await wire.reply(
                            401, www_authenticate=f'Bearer realm="http://{registry.address}/token"'
                        )
                elif asked.method == "HEAD":
                    await wire.reply(404)
                else:
                    await wire.reply(202, Location=f"http://{store.address}/put?key=k")

            async with serving(answer) as registry:
                assert await client().push_blob(image(registry.address), BLOB, source()) is True
                scopes = [parse_qs(urlsplit(asked.target).query).get("scope") for asked in registry.asked]
                assert ["repository:team/app:pull,push"] in scopes
            assert store.targets() == [f"PUT /put?key=k&digest=sha256%3A{BLOB.digest}"]
            assert "authorization" not in store.asked[0].headers

    asyncio.run(main())


def test_a_manifest_is_put_under_its_tag_or_its_digest() -> None:
    async def main() -> None:
        data = b'{"schemaVersion": 2}'
        digest = digest_of(data)

        async def takes(asked: Asked, wire: Wire) -> None:
            await wire.reply(201, Docker_Content_Digest=wire_form(digest))

        async with serving(takes) as server:
            for name in ("team/app:v2", f"team/app@sha256:{digest}"):
                assert (
                    await client().push_manifest(image(server.address, name), data, MANIFEST_TYPES[1])
                    == digest
                )
            assert server.targets() == [
                "PUT /v2/team/app/manifests/v2",
                f"PUT /v2/team/app/manifests/sha256:{digest}",
            ]
            assert server.asked[0].body == data
            assert server.asked[0].headers["content-type"] == MANIFEST_TYPES[1]
            with pytest.raises(DigestMismatch):
                wrong = image(server.address, f"team/app@sha256:{'0' * 64}")
                await client().push_manifest(wrong, data, MANIFEST_TYPES[1])
            with pytest.raises(RegistryAnswerWrong):
                await client().push_manifest(image(server.address), data + b" ", MANIFEST_TYPES[1])

    asyncio.run(main())


def test_a_manifest_that_the_registry_finds_wrong_is_told_with_its_code() -> None:
    async def main() -> None:
        async def refuses(asked: Asked, wire: Wire) -> None:
            await wire.reply(400, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}')

        async with serving(refuses) as server:
            with pytest.raises(RegistryRefused, match="MANIFEST_BLOB_UNKNOWN"):
                await client().push_manifest(image(server.address), b"{}", MANIFEST_TYPES[1])

    asyncio.run(main())


def test_a_blob_has_no_size_below_zero() -> None:
    with pytest.raises(ValueError, match="below zero"):
        RemoteBlob(BLOB.digest, -1)
