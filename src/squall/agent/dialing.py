"""Dialing: how this agent reaches its server, on this machine's socket or across a network."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Final

from squall.model.access import SERVER_NAME
from squall.model.errors import FeatureUnavailable
from squall.settings.joined import Joined, NodeFiles, read_joined
from squall.settings.listen import split_address
from squall.settings.paths import StatePaths
from squall.settings.whole_file import write_whole
from squall.wire.address import connect
from squall.wire.channel import Channel
from squall.wire.dialing import dial_tls, dial_websocket
from squall.wire.session import Session
from squall.wire.socket_channel import SocketChannel
from squall.wire.tls import client_context

_LOOKED_S: Final = 3600.0
_log: Final = logging.getLogger("squall.agent")


class Dialing:
    """Connections to the one server of this agent. joined: the server on another machine, None where it is this one's own."""

    def __init__(self, paths: StatePaths) -> None:
        self.joined: Joined | None = read_joined(paths)
        self._paths = paths
        self._files = NodeFiles(paths.access)

    async def dial(self) -> Channel:
        """A connection. Raises OSError, and ConnectionError of the tree, where the server cannot be reached or trusted."""
        if self.joined is None:
            return SocketChannel(connect(self._paths.server_socket))
        # Read anew each time: a certificate may have been renewed.
        context = client_context(
            self._files.authority,
            cert_file=self._files.certificate,
            key_file=self._files.key,
            check_name=not self.joined.websocket,
        )
        host, port = split_address(self.joined.server)
        if self.joined.websocket:
            return await dial_websocket(f"wss://{self.joined.server}/squall/v1", context)
        return await dial_tls(host, port, context, server_name=SERVER_NAME)

    async def renew(self, session: Session) -> None:
        """Has this machine's certificate renewed in time, for as long as the session lives."""
        if self.joined is None:
            return
        while True:
            await self._renew_once(session, self.joined)
            await asyncio.sleep(_LOOKED_S)

    async def _renew_once(self, session: Session, joined: Joined) -> None:
        try:
            from squall.agent import enroll
        except ImportError:
            raise FeatureUnavailable(
                "a machine that joined needs the package cryptography, which is not installed here",
                remedy="install it with `pip install 'squall[cluster]'`",
                feature="cluster",
            ) from None
        if not enroll.is_due(self._files.certificate.read_bytes(), time.time()):
            return
        # The same key: whatever is lost on the way, the certificate that is here stays good.
        request = enroll.signing_request(self._files.key.read_bytes(), joined.node)
        answer = await session.ask("node.renew", {}, request)
        signed: dict[str, str] = json.loads(bytes(answer.payload))
        write_whole(self._files.certificate, signed["certificate"].encode())
        _log.info("the certificate of this machine was renewed")
