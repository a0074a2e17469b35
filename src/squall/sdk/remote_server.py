"""Remote server: how a client reaches a server on another machine, makes sure that it is the right one, and says who it is."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from typing import Final

from squall.model.access import SERVER_NAME, Token
from squall.model.errors import (
    AuthError,
    ConnectionError,  # noqa: A004 - the tree's own
    ConnectionLost,
    PeerNotTrusted,
    VersionConflict,
)
from squall.sdk.greeting import Greeting, greeting_in
from squall.settings.client import RemoteServer
from squall.settings.version import PROTOCOL, VERSION
from squall.wire.channel import Channel
from squall.wire.dialing import dial_tls, dial_websocket
from squall.wire.session import Session
from squall.wire.tls import client_context, der_of, fingerprint, pinned_context

_WITHIN_S: Final = 10.0


class RemoteDoor:
    """The way to one server. What it has found out of the server's authority is kept for the next connection."""

    def __init__(self, server: RemoteServer) -> None:
        self.server = server
        self._context: ssl.SSLContext | None = None

    async def dial(self) -> Channel:
        """A connection to the server that was meant, to which nothing was said yet.

        Raises OSError, ConnectionLost, PeerNotTrusted, AuthError where there is no token.
        """
        if self._context is None:
            self._context = await self._trusted()
        try:
            return await self._dialed(self._context)
        except ssl.SSLError as problem:
            self._context = None  # it may have been set up anew, with another authority
            raise PeerNotTrusted(
                f"{self.server} is not the server that was meant: {problem.reason}"
            ) from problem

    async def introduce(self, session: Session) -> Greeting:
        """Says who we are; what the server says of itself. Raises TokenRefused, VersionConflict, ConnectionLost."""
        head = {
            "version": VERSION,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "role": "client",
            "token": str(self._token()),
        }
        greeting = greeting_in(await session.ask("hello", head))
        if not greeting.understood:
            raise VersionConflict(
                f"squall {greeting.version} (protocol {greeting.protocol}) listens on {self.server}; this is squall {VERSION}",
                remedy="install the same version on both sides",
                client=VERSION,
                server=greeting.version,
            )
        return greeting

    async def greet(self) -> Greeting:
        """What the server says of itself, on a connection of its own. Raises ConnectionError where nobody answers."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                session = Session(await self.dial(), dialer=True)
                try:
                    return await self.introduce(session)
                finally:
                    session.close()
        except (OSError, ConnectionLost) as problem:
            raise ConnectionError(
                f"no server answers on {self.server}: {problem or 'it took too long'}",
                remedy="start it there with `squall up --listen HOST:PORT`, or name another with SQUALL_SERVER",
            ) from problem

    async def _trusted(self) -> ssl.SSLContext:
        if self.server.system_trust or self.server.url.startswith("ws:"):
            return ssl.create_default_context()
        expected = self._token().authority
        if not expected:
            raise PeerNotTrusted(
                f"the token does not say which authority {self.server} has",
                remedy="give the whole token, with its last part, or SQUALL_TRUST=system for a certificate that this machine trusts",
            )
        # Nothing but the question for its authority is said to a server that is not verified yet.
        session = Session(await self._dialed(pinned_context()), dialer=True)
        try:
            answer = await session.ask("authority")
        finally:
            session.close()
        pem = str(json.loads(bytes(answer.payload))["authority"])
        found = fingerprint(der_of(pem))
        if found != expected:
            raise PeerNotTrusted(
                f"{self.server} has the authority {found[:16]}…, and the token is for {expected[:16]}…"
            )
        # An own authority signs for one server: behind a proxy, that is reached by a name which it does not know.
        return client_context(ca_pem=pem, check_name=not self.server.url)

    async def _dialed(self, context: ssl.SSLContext) -> Channel:
        if self.server.url:
            return await dial_websocket(self.server.url, context)
        name = None if self.server.system_trust else SERVER_NAME
        return await dial_tls(self.server.host, self.server.port, context, server_name=name)

    def _token(self) -> Token:
        if self.server.token is None:
            raise AuthError(
                f"{self.server} lets in who has a token, and none was given",
                remedy="set SQUALL_TOKEN, or make a profile: `squall profile add NAME --server HOST:PORT`",
            )
        return self.server.token
