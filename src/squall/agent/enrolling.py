"""Enrolling: this machine becomes one of a server's, by a token that lets it in once."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, Final

from squall.agent.enroll import new_key, signing_request
from squall.model.access import SERVER_NAME, Token
from squall.model.errors import (
    ConnectionError,  # noqa: A004 - the tree's own
    ConnectionLost,
    InvalidError,
    PeerNotTrusted,
    VersionConflict,
)
from squall.settings.joined import Joined, NodeFiles, write_joined
from squall.settings.listen import split_address
from squall.settings.paths import StatePaths
from squall.settings.version import PROTOCOL, VERSION
from squall.settings.whole_file import write_whole
from squall.wire.channel import Channel
from squall.wire.dialing import dial_tls, dial_websocket
from squall.wire.session import Session
from squall.wire.tls import client_context, der_of, fingerprint, pinned_context

_WITHIN_S: Final = 20.0


async def enroll_machine(
    paths: StatePaths, address: str, token: Token, *, name: str = "", websocket: bool = False
) -> Joined:
    """The server that this machine has joined, once its certificate is here. May be tried again with the same token.

    Raises ConnectionError, PeerNotTrusted, TokenRefused, VersionConflict, InvalidError for no address, OSError.
    """
    host, port = _address(address)
    if not token.authority:
        raise InvalidError("the token does not say which authority the server has: give the whole of it")
    files = NodeFiles(paths.access)
    # Kept at once: whoever asks twice, because the first answer was lost, has to be the same.
    key = _kept_key(files.key)
    node = _own_id(paths)

    async def dial(trusted: str | None) -> Session:
        context = (
            pinned_context() if trusted is None else client_context(ca_pem=trusted, check_name=not websocket)
        )
        channel: Channel
        if websocket:
            channel = await dial_websocket(f"wss://{host}:{port}/squall/v1", context)
        else:
            channel = await dial_tls(host, port, context, server_name=SERVER_NAME)
        return Session(channel, dialer=True)

    try:
        async with asyncio.timeout(_WITHIN_S):
            # The token goes to nobody who is not known to be the server.
            found = await _ask(await dial(None), "authority")
            authority = str(found["authority"])
            if fingerprint(der_of(authority)) != token.authority:
                raise PeerNotTrusted(f"{address} is not the server that this token is for")
            session = await dial(authority)
            head = {"token": str(token), "node": node, "name": name or socket.gethostname()}
            signed = await _ask(session, "enroll", head, signing_request(key, node or "node"))
    except (OSError, ConnectionLost) as problem:
        raise ConnectionError(
            f"no server answers on {address}: {problem or 'it took too long'}",
            remedy="start it there with `squall up --listen HOST:PORT`, and check that the port can be reached",
        ) from problem
    write_whole(files.certificate, str(signed["certificate"]).encode())
    write_whole(files.authority, str(signed["authority"]).encode())
    write_whole(paths.state / "node-id", str(signed["node"]).encode())
    joined = Joined(server=address, node=str(signed["node"]), websocket=websocket)
    write_joined(paths, joined)
    return joined


async def _ask(
    session: Session, name: str, head: dict[str, Any] | None = None, payload: bytes = b""
) -> dict[str, Any]:
    try:
        hello = (await session.ask("hello", {"version": VERSION, "protocol": PROTOCOL})).head()
        if hello.get("protocol") != PROTOCOL:
            raise VersionConflict(
                f"the server is squall {hello.get('version')} (protocol {hello.get('protocol')}); this is squall {VERSION}",
                remedy="install the same version on both machines",
                client=VERSION,
                server=str(hello.get("version")),
            )
        answer = await session.ask(name, head, payload)
        found: dict[str, Any] = json.loads(bytes(answer.payload))
        return found
    finally:
        session.close()


def _address(address: str) -> tuple[str, int]:
    try:
        host, port = split_address(address)
    except ValueError as wrong:
        raise InvalidError(str(wrong)) from wrong
    if not host:
        raise InvalidError(f"{address!r} names no machine", remedy="give the server's HOST:PORT")
    return host, port


def _kept_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        key = new_key()
        write_whole(path, key)
        return key


def _own_id(paths: StatePaths) -> str:
    try:
        return (paths.state / "node-id").read_text().strip()
    except FileNotFoundError:
        return ""
