"""Asking: questions of commands to the server, and streams of its answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from squall.model.errors import ConnectionError, UsageError  # noqa: A004 - the tree's own
from squall.sdk.blocking import run_blocking
from squall.sdk.client import Client
from squall.sdk.greeting import Greeting, greet, listens
from squall.settings.client import RemoteServer, named_server
from squall.settings.paths import find_state
from squall.wire.codec import Frame


def own_socket() -> Path | None:
    """Where the server listens on this machine, if it does; None for one on another machine."""
    named = named_server()
    if isinstance(named, RemoteServer):
        return None
    return named or find_state().server_socket


def greet_server(*, within_s: float) -> Greeting | None:
    """What the server says of itself; None where none runs on this machine. Raises ConnectionError for another's."""
    socket = own_socket()
    if socket is not None:
        return greet(socket, timeout_s=within_s)
    client = Client.here()
    assert client.home is not None
    assert client.home.door is not None
    return run_blocking(client.home.door.greet())


def require_own_server(command: str) -> None:
    """Raise UsageError where another server is named, for a command that is about this machine's own."""
    named = named_server()
    if named is not None:
        who = "SQUALL_SERVER names"
        if isinstance(named, RemoteServer) and named.from_profile:
            who = f"the profile {named.from_profile} names"
        raise UsageError(
            f"`{command}` is about this machine's own server, and {who} {named}",
            remedy=f"set SQUALL_SERVER=local, or run `{command}` where that server was started",
        )


def running_client() -> Client:
    """The client of a server that runs; none is started. Raises ConnectionError where none runs."""
    socket = own_socket()
    if socket is None:
        return any_client()
    if not listens(socket):
        raise ConnectionError(f"no server runs: nobody listens on {socket}")
    return Client.here()


def client_if_any() -> Client | None:
    """The client of a server that runs; None where this machine's own does not: what lies on its disk is answer enough."""
    socket = own_socket()
    if named_server() is None and socket is not None and not listens(socket):
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
