"""Access: what opens a registry, kept per scope until it expires."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlencode

from squall.images.registry.challenge import Basic, Bearer, Challenge, Token, parse_token
from squall.images.registry.complaint import Unsound, Where, refusal
from squall.images.registry.credentials import Credentials, IdentityToken, Login
from squall.images.registry.exchange import Request, Sent
from squall.images.registry.head import Head
from squall.images.registry.location import Location, parse_location
from squall.model.errors import RegistryAccessDenied

_MOST_KEPT: Final = 256
_EARLY_S: Final = 5.0  # before its end a token is no longer used: a request takes a while to arrive
_CLIENT: Final = "squall"

Scopes = tuple[str, ...]
Ask = Callable[[Request], Awaitable[tuple[Head, bytes]]]


class Keys(Protocol):
    """Where credentials come from."""

    async def find(self, registry: str, repository: str) -> Credentials | None:
        """What the user has for this repository, or None for a stranger."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    header: str = field(repr=False)
    until_s: float


class Access:
    """The values of Authorization headers for one registry, by scopes. clock: seconds that never go back."""

    def __init__(self, keys: Keys, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._ask = ask
        self._clock = clock
        self._kept: dict[Scopes, _Kept] = {}
        self._asking: dict[Scopes, asyncio.Lock] = {}

    def known(self, scopes: Scopes) -> str | None:
        """What opened these scopes last and still holds, or None."""
        kept = self._kept.get(scopes)
        return kept.header if kept is not None and self._clock() < kept.until_s else None

    async def renew(
        self, challenges: tuple[Challenge, ...], scopes: Scopes, where: Where, *, stale: str | None
    ) -> str:
        """What opens these scopes, after the registry did not take `stale`. Those who ask at once share one answer.

        Raises RegistryAccessDenied, and as `ask` does.
        """
        lock = self._asking.setdefault(scopes, asyncio.Lock())
        try:
            async with lock:
                known = self.known(scopes)
                if known is not None and known != stale:
                    return known
                self._kept.pop(scopes, None)
                kept = await self._earned(challenges, scopes, where)
                while len(self._kept) >= _MOST_KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[scopes] = kept
                return kept.header
        finally:
            if not lock.locked():
                self._asking.pop(scopes, None)

    async def _earned(self, challenges: tuple[Challenge, ...], scopes: Scopes, where: Where) -> _Kept:
        credentials = await self._keys.find(where.host, where.repository)
        for challenge in challenges:
            match challenge, credentials:
                case Bearer(), _:
                    token = await self._token(challenge, credentials, scopes, where)
                    return _Kept(f"Bearer {token.value}", self._clock() + token.life_s - _EARLY_S)
                case Basic(), Login():
                    return _Kept(_basic(credentials), math.inf)
                case _:
                    continue
        raise RegistryAccessDenied(
            f"{where.host} wants to know who asks for {where.repository}, and "
            + (
                "no login for it was found"
                if credentials is None
                else "the login that was found is of a kind that it does not take"
                if challenges
                else "asks in a way that is not known here"
            ),
            host=where.host,
            repository=where.repository,
        )

    async def _token(
        self, challenge: Bearer, credentials: Credentials | None, scopes: Scopes, where: Where
    ) -> Token:
        request = _token_request(challenge, credentials, scopes)
        head, body = await self._ask(request)
        if head.status != 200:
            raise refusal(where, head.status, body, "asked for a token for")
        try:
            return parse_token(body)
        except ValueError as error:
            raise Unsound(f"the token that its server gives is none: {error}") from None


def _token_request(challenge: Bearer, credentials: Credentials | None, scopes: Scopes) -> Request:
    try:
        realm = parse_location(challenge.realm)
    except ValueError as error:
        raise Unsound(f"it sends to a token server at {error}") from None
    asked = tuple(dict.fromkeys((*(challenge.scope or "").split(), *scopes)))
    service = [("service", challenge.service)] if challenge.service is not None else []
    if isinstance(credentials, IdentityToken):
        form = urlencode(
            [
                *service,
                ("grant_type", "refresh_token"),
                ("refresh_token", credentials.token),
                ("client_id", _CLIENT),
                ("scope", " ".join(asked)),
            ]
        ).encode()
        kind = (("Content-Type", "application/x-www-form-urlencoded"),)
        return Request(method="POST", at=realm, headers=kind, body=Sent.whole(form))
    query = urlencode([*service, *(("scope", scope) for scope in asked)])
    at = _with_query(realm, query)
    return Request(method="GET", at=at, authorization=_basic(credentials) if credentials else None)


def _with_query(at: Location, query: str) -> Location:
    if not query:
        return at
    mark = "&" if "?" in at.target else "?"
    return Location(scheme=at.scheme, host=at.host, port=at.port, target=f"{at.target}{mark}{query}")


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
