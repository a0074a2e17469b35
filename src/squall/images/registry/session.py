"""Session: what is asked of one registry, with its login, its redirects and its moods seen to."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from squall.images.registry.access import Access, Keys, Scopes
from squall.images.registry.challenge import parse_challenges
from squall.images.registry.complaint import NotNow, Unsound, Where, gave_up, rate_limited, refusal, told
from squall.images.registry.connection import Dialer
from squall.images.registry.exchange import Request, Response, Sent, exchange
from squall.images.registry.head import Head, retry_after_s
from squall.images.registry.location import Location, Reach, why_not_led
from squall.images.registry.patience import AGAIN, Patience
from squall.images.registry.redirects import REDIRECTS, led_to
from squall.images.registry.reference import Reference
from squall.images.registry.settings import RegistrySettings

MOST_TEXT: Final = 1 << 20  # bytes of an answer that is no manifest and no blob

_MOST_REDIRECTS: Final = 5
_FOLLOWED: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing asked of the registry about a repository.

    target: a path, or the address that an upload was told to go on at. doing: "asked for the manifest of", for errors.
    """

    where: Where
    method: str
    target: str
    scopes: Scopes
    doing: str
    headers: tuple[tuple[str, str], ...] = ()
    body: Sent | None = None
    at: Location | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read to its end. at: where it came from."""

    head: Head
    body: bytes
    at: Location

    @property
    def status(self) -> int:
        return self.head.status

    def must(self, question: Question, *statuses: int) -> None:
        """Raises the error that fits, unless the status is one of these."""
        if self.status not in statuses:
            raise refusal(question.where, self.status, self.body, question.doing)


class Tries:
    """How often one thing was asked, and the pauses in between."""

    def __init__(self, patience: Patience, where: Where, draw: Callable[[], float] = random.random) -> None:
        self._patience = patience
        self._where = where
        self._draw = draw
        self._tried = 0

    async def after(self, failed: NotNow) -> None:
        """Waits until it may be asked again. Raises the named error where it may not, or was asked often enough."""
        self._tried += 1
        if failed.remedy is not None or self._tried >= self._patience.tries:
            raise gave_up(self._where, failed, self._tried) from None
        if failed.asked_s is not None and failed.asked_s > self._patience.longest_pause_s:
            raise rate_limited(self._where, failed) from None
        await asyncio.sleep(self._patience.pause_s(self._tried, asked_s=failed.asked_s, drawn=self._draw()))

    def renew(self) -> None:
        """Much of it has come: the next failure counts as the first."""
        self._tried = 0


class Session:
    """Speaks to the registry at `base`. keys: where credentials come from; environ: for proxies and certificates."""

    def __init__(
        self, base: Location, settings: RegistrySettings, keys: Keys, environ: Mapping[str, str]
    ) -> None:
        self.base = base
        self.settings = settings
        self._dialer = Dialer(settings.patience, environ)
        self._access = Access(keys, self._ask_for_token)
        self._reach: Reach | None = None

    async def ask(self, question: Question, *, most: int = MOST_TEXT) -> Answer:
        """The answer, whatever its status, once the registry gives one; asked again where that may help.

        most: bytes of the answer's body. Raises the errors of registries. For what may be asked twice.
        """
        tries = Tries(self.settings.patience, question.where)
        while True:
            try:
                return await self.ask_once(question, most=most)
            except NotNow as not_now:
                await tries.after(not_now)

    async def ask_once(self, question: Question, *, most: int = MOST_TEXT) -> Answer:
        """As `ask`, without a second try: raises NotNow."""
        with told(question.where):
            async with await self.open(question) as response:
                return Answer(response.head, await response.read(most), response.at)

    async def open(self, question: Question) -> Response:
        """The answer with its body still to come. Raises NotNow, Unsound, RegistryAccessDenied."""
        at = question.at or replace(self.base, target=question.target)
        self._check_led(at)
        request = Request(method=question.method, at=at, headers=question.headers, body=question.body)
        header = self._access.known(question.scopes)
        response = await self._answered(self._with(request, header))
        if response.status == 401 and response.at.origin == self.base.origin:
            challenges = parse_challenges(response.head.all("www-authenticate"))
            response.close()
            header = await self._access.renew(challenges, question.scopes, question.where, stale=header)
            response = await self._answered(self._with(request, header))
        return response

    def _with(self, request: Request, header: str | None) -> Request:
        # An upload may be told to go on elsewhere: the registry's token is not for there.
        return replace(request, authorization=header if request.at.origin == self.base.origin else None)

    async def _ask_for_token(self, request: Request) -> tuple[Head, bytes]:
        self._check_led(request.at)
        async with await self._answered(request) as response:
            return response.head, await response.read(MOST_TEXT)

    async def _answered(self, request: Request) -> Response:
        response = await self._followed(request)
        if response.status not in AGAIN:
            return response
        response.close()
        asked_s = retry_after_s(response.head, time.time())
        raise NotNow(f"it answers with the status {response.status}", asked_s=asked_s, status=response.status)

    async def _followed(self, request: Request) -> Response:
        """The answer at the end of the redirects. Only its own origin hears a request's authorization."""
        at = request.at
        for _ in range(_MOST_REDIRECTS + 1):
            authorization = request.authorization if at.origin == request.at.origin else None
            response = await self._exchanged(replace(request, at=at, authorization=authorization))
            if response.status not in REDIRECTS:
                return response
            response.close()
            if request.method not in _FOLLOWED:
                raise Unsound(f"it sends a {request.method} on to another place")
            at = led_to(response.head, response.at)
            self._check_led(at)
        raise Unsound(f"it leads on more than {_MOST_REDIRECTS} times")

    async def _exchanged(self, request: Request) -> Response:
        # The registry too is held to the reach it had at first: its name may not come to mean a place inside.
        most = None if self.settings.private_redirects else self._reach
        response, reach = await exchange(request, self._dialer, self.settings.patience, most)
        if self._reach is None:
            self._reach = reach
        return response

    def _check_led(self, at: Location) -> None:
        why = why_not_led(at, registry=self.base)
        if why is not None:
            raise Unsound(why)


def about(image: Reference, method: str, path: str, *, doing: str, scopes: Scopes = ()) -> Question:
    """A question about the repository of `image`; path: what comes after its name. scopes: none for fetching only."""
    return Question(
        where=Where(image.registry, image.repository),
        method=method,
        target=f"/v2/{image.repository}/{path}",
        scopes=scopes or (scope(image.repository, "pull"),),
        doing=doing,
    )


def scope(repository: str, actions: str) -> str:
    """The scope of a token for these actions ("pull" or "pull,push")."""
    return f"repository:{repository}:{actions}"


def located(answer: Answer) -> Location:
    """Where the answer says to go on. Raises Unsound."""
    return led_to(answer.head, answer.at)
