"""Asking: questions of commands to the server, and streams of its answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from squall.model.errors import ConnectionError, UsageError  # noqa: A004 - the tree's own
from squall.sdk.blocking import run_blocking
from squall.sdk.client import Client
from squall.sdk.greeting import listens
from squall.settings.client import named_server
from squall.settings.paths import find_state
from squall.wire.codec import Frame


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


def client_if_any() -> Client | None:
    """The client of a server that runs; None where this machine's own does not: what lies on its disk is answer enough."""
    if named_server() is None and not listens(server_socket()):
        return None
    return running_client()


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
    return run_blocking(client.follow(name, head, on_data, payload))
