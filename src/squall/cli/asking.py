"""Asking: questions of commands to the server, and streams of its answers."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from squall.model.errors import ConnectionError, UsageError, from_wire  # noqa: A004 - the tree's own
from squall.sdk.blocking import run_blocking
from squall.sdk.client import Client
from squall.sdk.greeting import listens
from squall.settings.client import named_server
from squall.settings.paths import find_state
from squall.wire.codec import Frame, Kind


def server_socket() -> Path:
    """Where the server listens, if it does."""
    return named_server() or find_state().server_socket


def require_own_server(command: str) -> None:
    """Raise UsageError where SQUALL_SERVER names a server, for a command that is about this machine's own."""
    named = named_server()
    if named is not None:
        raise UsageError(
            f"`{command}` is about this machine's own server, and SQUALL_SERVER names {named}",
            remedy=f"unset SQUALL_SERVER, or run `{command}` where that server was started",
        )


def running_client() -> Client:
    """The client of a server that runs; none is started. Raises ConnectionError where none runs."""
    socket = server_socket()
    if not listens(socket):
        raise ConnectionError(f"no server runs: nobody listens on {socket}")
    return Client.here()


def any_client(progress: Callable[[str], None] | None = None) -> Client:
    """The client of a server, which is started where none runs."""
    client = Client.here()
    client.start(progress)
    return client


def follow(
    client: Client, name: str, head: dict[str, Any], on_data: Callable[[Frame], None], payload: bytes = b""
) -> dict[str, Any]:
    """The answer's end, its JSON or else its head, once on_data has had every DATA frame; an interrupt cancels the stream.

    payload: what travels with the question. on_data is called on the client's loop and owns the frame's descriptors. Raises what the server answers with FAIL.
    """
    return run_blocking(_follow(client, name, head, on_data, payload))


async def _follow(
    client: Client, name: str, head: dict[str, Any], on_data: Callable[[Frame], None], payload: bytes
) -> dict[str, Any]:
    session = await client.session()
    ended: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

    def on_frame(frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            on_data(frame)
        elif frame.kind in {Kind.END, Kind.FAIL} and not ended.done():
            ended.set_result(frame)

    stream = session.open(name, head, payload, on_frame=on_frame)
    try:
        last = await ended
    except asyncio.CancelledError:
        stream.cancel()
        raise
    if last.kind is Kind.FAIL:
        raise from_wire(last.head())
    if len(last.payload):
        said: dict[str, Any] = json.loads(bytes(last.payload))
        return said
    return last.head()
