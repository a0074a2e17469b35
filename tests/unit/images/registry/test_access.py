from __future__ import annotations

import asyncio
import base64
import json
import traceback
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

import pytest

from squall.images.registry.access import Access
from squall.images.registry.challenge import Bearer
from squall.images.registry.complaint import Where
from squall.images.registry.credentials import Credentials, IdentityToken, Keychain, Login
from squall.images.registry.exchange import Request
from squall.images.registry.head import Head
from squall.images.registry.location import parse_location
from squall.model.errors import Error, RegistryAccessDenied, RegistryAnswerWrong
from tests.unit.images.registry.hostile import Asked, Server, Wire, blob_of, client, image, serving

DATA = b"some bytes"
BLOB = blob_of(DATA)
ADA = Login("ada", "hunter22canary")
BASIC = "Basic " + base64.b64encode(b"ada:hunter22canary").decode()


class Registry:
    """A registry with a token server of its own, which lets in whoever has the newest token."""

    def __init__(self, *, expires_in: object = 300) -> None:
        self.expires_in = expires_in
        self.tokens = 0
        self.server = Server()

    async def answer(self, asked: Asked, wire: Wire) -> None:
        if asked.target.startswith("/token"):
            self.tokens += 1
            await wire.reply(
                200, json.dumps({"token": f"t{self.tokens}", "expires_in": self.expires_in}).encode()
            )
        elif asked.headers.get("authorization") == f"Bearer t{self.tokens}":
            await wire.reply(200, DATA)
        else:
            scope = f"repository:{'/'.join(asked.target.split('/')[2:4])}:pull"
            challenge = f'Bearer scope="{scope}",service=here, realm="http://{self.server.address}/token?x=1"'
            await wire.reply(401, www_authenticate=challenge)

    def asked_for_tokens(self) -> list[Asked]:
        return [asked for asked in self.server.asked if asked.target.startswith("/token")]


async def get(server: Server, login: Credentials | None = None) -> bytes:
    registry = client(login=login, at=server.address)
    return b"".join([part async for part in registry.blob(image(server.address), BLOB)])


def test_a_stranger_gets_a_token_and_keeps_it_for_the_repository() -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry.answer) as registry.server:
            mine = client()
            for name in ("team/app", "team/app", "team/other"):
                got = [part async for part in mine.blob(image(registry.server.address, name), BLOB)]
                assert b"".join(got) == DATA
            assert registry.tokens == 2
            # 401, token, again; with the token; 401, token, again.
            assert len(registry.server.asked) == 7
            asked = registry.asked_for_tokens()[0]
            assert parse_qs(urlsplit(asked.target).query) == {
                "x": ["1"],
                "service": ["here"],
                "scope": ["repository:team/app:pull"],
            }
            assert "authorization" not in asked.headers

    asyncio.run(main())


def test_a_user_tells_the_password_to_the_token_server_only() -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry.answer) as registry.server:
            assert await get(registry.server, ADA) == DATA
            told = [
                asked.target for asked in registry.server.asked if asked.headers.get("authorization") == BASIC
            ]
            assert told == [asked.target for asked in registry.asked_for_tokens()]

    asyncio.run(main())


def test_an_identity_token_is_sent_in_a_body() -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry.answer) as registry.server:
            assert await get(registry.server, IdentityToken("long-canary")) == DATA
            asked = registry.asked_for_tokens()[0]
            assert asked.method == "POST"
            form = parse_qs(asked.body.decode())
            assert form["grant_type"] == ["refresh_token"]
            assert form["refresh_token"] == ["long-canary"]
            assert "canary" not in asked.target

    asyncio.run(main())


def test_a_token_that_the_registry_no_longer_takes_is_replaced_once() -> None:
    async def main() -> None:
        registry = Registry()
        async with serving(registry.answer) as registry.server:
            mine = client()
            where = image(registry.server.address)
            assert b"".join([part async for part in mine.blob(where, BLOB)]) == DATA
            registry.tokens += 1  # revoked
            assert b"".join([part async for part in mine.blob(where, BLOB)]) == DATA
            assert len(registry.asked_for_tokens()) == 2

    asyncio.run(main())


def test_a_token_is_used_until_shortly_before_it_expires() -> None:
    async def main() -> None:
        now_s = 100.0
        given = 0

        async def ask(request: Request) -> tuple[Head, bytes]:
            nonlocal given
            given += 1
            await asyncio.sleep(0)
            return Head(200, ()), json.dumps({"access_token": f"t{given}", "expires_in": 90}).encode()

        access = Access(Keychain({}), ask, clock=lambda: now_s)
        challenge = (Bearer(realm="https://auth.example/token"),)
        scopes = ("repository:a:pull",)
        where = Where("registry.example", "a")
        assert access.known(scopes) is None
        renewed = await asyncio.gather(
            *(access.renew(challenge, scopes, where, stale=None) for _ in range(5))
        )
        assert set(renewed) == {"Bearer t1"}  # all at once, one token
        now_s += 84
        assert access.known(scopes) == "Bearer t1"
        now_s += 2
        assert access.known(scopes) is None
        assert access.known(("repository:b:pull",)) is None

    asyncio.run(main())


def test_basic_is_told_to_the_registry_that_asks_for_it() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            if asked.headers.get("authorization") == BASIC:
                await wire.reply(200, DATA)
            else:
                await wire.reply(401, www_authenticate='Basic realm="here"')

        async with serving(answer) as server:
            assert await get(server, ADA) == DATA
            with pytest.raises(RegistryAccessDenied, match="no login"):
                await get(server)
            with pytest.raises(RegistryAccessDenied):
                await get(server, Login("eve", "wrong"))
            with pytest.raises(RegistryAccessDenied, match="of a kind"):
                await get(server, IdentityToken("x"))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"[]"),
        (200, b"no JSON"),
        (200, b'{"token": "two\\r\\nX-Evil: 1"}'),
        (200, b'{"token": ""}'),
        (200, b" " * (2 << 20)),
        (401, b""),
        (403, b""),
    ],
)
def test_a_token_server_that_gives_none_is_told_of(status: int, body: bytes) -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            if asked.target.startswith("/token"):
                await wire.reply(status, body)
            else:
                await wire.reply(401, www_authenticate=f'Bearer realm="http://{server.address}/token"')

        async with serving(answer) as server:
            kind = RegistryAnswerWrong if status == 200 else RegistryAccessDenied
            with pytest.raises(kind) as caught:
                await get(server, ADA)
            assert no_secret_in(caught.value)
            assert len(server.asked) == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    "realm",
    [
        "http://203.0.113.9/token",
        "ftp://127.0.0.1/",
        "//x",
        "http://u:p@127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://[/",
    ],
)
def test_a_token_server_in_a_place_that_eavesdroppers_see_is_not_asked(realm: str) -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.reply(401, www_authenticate=f'Bearer realm="{realm}"')

        async with serving(answer) as server:
            with pytest.raises(RegistryAnswerWrong) as caught:
                await get(server, ADA)
            assert no_secret_in(caught.value)

    asyncio.run(main())


def test_a_registry_that_never_lets_in_is_asked_twice() -> None:
    async def main() -> None:
        registry = Registry()

        async def never(asked: Asked, wire: Wire) -> None:
            if not asked.target.startswith("/token"):
                asked.headers.pop("authorization", None)
            await registry.answer(asked, wire)

        async with serving(never) as registry.server:
            with pytest.raises(RegistryAccessDenied) as caught:
                await get(registry.server, ADA)
            assert no_secret_in(caught.value)
            assert len(registry.server.asked) == 3

    asyncio.run(main())


def test_a_registry_that_repeats_what_it_was_told_gets_no_secret_into_an_error() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            secret = asked.headers.get("authorization", "")
            if not secret:
                await wire.reply(401, www_authenticate='Basic realm="here"')
                return
            said = json.dumps({"errors": [{"code": secret, "message": f"{secret} hunter22canary"}]}).encode()
            await wire.reply(400, said, Docker_Content_Digest=secret, Location=secret)

        async with serving(answer) as server:
            with pytest.raises(Error) as caught:
                await get(server, ADA)
            assert no_secret_in(caught.value)

    asyncio.run(main())


def test_no_repr_has_a_secret() -> None:
    keychain = Keychain({}, {"registry.example": ADA})
    request = Request(method="GET", at=parse_location("https://registry.example/v2/"), authorization=BASIC)
    for thing in (ADA, IdentityToken("hunter22canary"), keychain, request):
        assert "canary" not in repr(thing)
        assert BASIC not in repr(thing)


def no_secret_in(error: BaseException) -> bool:
    """Whether nothing of the login stands in what a person or a log may get to see."""
    text = "".join(traceback.format_exception(error)) + repr(getattr(error, "details", ""))
    return not any(secret in text for secret in _spellings("hunter22canary", BASIC.removeprefix("Basic ")))


def _spellings(*secrets: str) -> Iterable[str]:
    for secret in secrets:
        yield secret
        yield base64.b64encode(secret.encode()).decode().rstrip("=")
