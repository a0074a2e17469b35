from __future__ import annotations

import asyncio

import pytest

from squall.blobs.digest import Digest, digest_of
from squall.images.registry.nouns import MANIFEST_TYPES
from squall.images.registry.reference import wire_form
from squall.model.errors import RegistryAnswerWrong
from tests.unit.images.registry.hostile import Asked, Wire, client, image, reply, serving

OCI = MANIFEST_TYPES[1]


def test_a_manifest_is_asked_for_by_tag_and_by_digest_and_verified() -> None:
    async def main() -> None:
        data = b'{"schemaVersion": 2}'
        digest = digest_of(data)
        types: list[str] = []

        async def answer(asked: Asked, wire: Wire) -> None:
            types.append(asked.headers["accept"])
            await wire.reply(
                200, data, Content_Type=f"{OCI}; charset=utf-8", Docker_Content_Digest=wire_form(digest)
            )

        async with serving(answer) as server:
            by_tag = await client().manifest(image(server.address))
            by_digest = await client().manifest(image(server.address, f"team/app@sha256:{digest}"))
            assert by_tag == by_digest
            assert (by_tag.media_type, by_tag.digest, by_tag.data) == (OCI, digest, data)
            other = Digest("0" * 64)
            with pytest.raises(RegistryAnswerWrong, match=other):
                await client().manifest(image(server.address, f"team/app@sha256:{other}"))
            assert server.targets()[:2] == [
                "GET /v2/team/app/manifests/v1",
                f"GET /v2/team/app/manifests/sha256:{digest}",
            ]
        assert all(each in types[0] for each in MANIFEST_TYPES)

    asyncio.run(main())


def test_a_manifest_that_is_not_what_its_header_says_or_far_too_long_is_refused() -> None:
    async def main() -> None:
        async def lies(asked: Asked, wire: Wire) -> None:
            await wire.reply(200, b"{}", Docker_Content_Digest=wire_form(Digest("1" * 64)))

        async def endless(asked: Asked, wire: Wire) -> None:
            await wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                await wire.send(b" " * 65_536)

        for answer in (lies, endless):
            async with serving(answer) as server:
                with pytest.raises(RegistryAnswerWrong):
                    await client().manifest(image(server.address))
                assert len(server.asked) == 1

    asyncio.run(main())


def test_the_head_of_a_manifest_is_enough_where_it_says_all() -> None:
    async def main() -> None:
        data = b"{}"
        says = True

        async def answer(asked: Asked, wire: Wire) -> None:
            digest = wire_form(digest_of(data)) if says else ""
            whole = reply(200, data, Content_Type=OCI, Docker_Content_Digest=digest)
            await wire.send(whole.removesuffix(data) if asked.method == "HEAD" else whole)

        async with serving(answer) as server:
            first = await client().head_manifest(image(server.address))
            says = False
            second = await client().head_manifest(image(server.address))
            assert first == second
            assert (first.digest, first.size) == (digest_of(data), 2)
            assert [asked.method for asked in server.asked] == ["HEAD", "HEAD", "GET"]

    asyncio.run(main())


def test_tags_come_from_all_pages() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            if "last=" in asked.target:
                await wire.reply(200, b'{"name": "team/app", "tags": ["c"]}')
            else:
                link = '</v2/team/app/tags/list?n=1000&last=b>; rel="next"'
                await wire.reply(200, b'{"name": "team/app", "tags": ["a", "b"]}', Link=link)

        async with serving(answer) as server:
            assert await client().tags(image(server.address)) == ["a", "b", "c"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "link"),
    [
        (b'{"tags": ["a"]}', "</v2/team/app/tags/list>; rel=next"),
        (b'{"tags": ["a"]}', "<http://127.0.0.2:1/v2/>; rel=next"),
        (b'{"tags": [1]}', ""),
        (b"[" * 100_000, ""),
        (b"\xff", ""),
    ],
)
def test_a_list_of_tags_that_does_not_end_or_is_none_is_refused(body: bytes, link: str) -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.reply(200, body, Link=link)

        async with serving(answer) as server:
            with pytest.raises(RegistryAnswerWrong):
                await client().tags(image(server.address))
            assert len(server.asked) <= 100

    asyncio.run(main())
