"""The client's server: the one that SQUALL_SERVER or a profile names, or this machine's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from squall.model.access import Token, read_token
from squall.model.errors import InvalidError, MachineJoined
from squall.settings.joined import read_joined
from squall.settings.listen import is_loopback, split_address
from squall.settings.paths import StatePaths
from squall.settings.profiles import chosen_profile

LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteServer:
    """A server on another machine. url: of its WebSocket, "" where it is spoken to directly.

    token: by which it lets us in. system_trust: its certificate is one that this machine trusts anyway, not one of the
    server's own authority. from_profile: the profile that names it, "" where SQUALL_SERVER does.
    """

    host: str
    port: int
    url: str = ""
    token: Token | None = field(default=None, repr=False)
    system_trust: bool = False
    from_profile: str = ""

    def __str__(self) -> str:
        if self.url:
            return self.url
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


ServerAddress: TypeAlias = Path | RemoteServer


def named_server(environ: Mapping[str, str] = os.environ) -> ServerAddress | None:
    """The server that SQUALL_SERVER, or else a profile, names; None where this machine's own is meant.

    Written as unix:/path or /path for a socket, HOST:PORT, squall://HOST:PORT or wss://HOST[:PORT]/PATH for another
    machine, or local. SQUALL_TOKEN is the token. Raises InvalidError for anything else.
    """
    value = environ.get("SQUALL_SERVER", "").strip()
    token = environ.get("SQUALL_TOKEN", "").strip()
    trust = environ.get("SQUALL_TRUST", "").strip()
    if value == LOCAL:
        return None
    if value:
        return read_server(value, token=token, trust=trust, said_by="SQUALL_SERVER")
    profile = chosen_profile(environ)
    if profile is None:
        return None
    named = read_server(
        profile.server,
        token=token or profile.token,
        trust=trust or profile.trust,
        said_by=f"profile {profile.name}",
    )
    if isinstance(named, RemoteServer):
        return RemoteServer(
            host=named.host,
            port=named.port,
            url=named.url,
            token=named.token,
            system_trust=named.system_trust,
            from_profile=profile.name,
        )
    return named


def read_server(
    value: str, *, token: str = "", trust: str = "", said_by: str = "SQUALL_SERVER"
) -> ServerAddress:
    """The server of an address; see `named_server`. said_by: who says it, for errors. Raises InvalidError."""
    scheme, colon, rest = value.partition(":")
    if value.startswith("/") or (scheme == "unix" and colon):
        path = value if value.startswith("/") else rest.removeprefix("//")
        if not path.startswith("/"):
            raise _unusable(said_by, value, "the path of a socket must be absolute")
        return Path(path)
    if trust not in {"", "own", "system"}:
        raise _unusable(said_by, value, f"its certificate is trusted as `own` or as `system`, not {trust!r}")
    known = {
        "token": read_token(token) if token else None,
        "system_trust": trust == "system",
    }
    if scheme in {"wss", "ws", "squall"} and rest.startswith("//"):
        where, slash, _path = rest.removeprefix("//").partition("/")
    elif "//" in value:
        raise _unusable(said_by, value, f"{scheme}: is no way to reach a server")
    else:
        scheme, where, slash = "squall", value, ""
    if slash and scheme == "squall":
        raise _unusable(said_by, value, "an address ends with its port")
    try:
        if not colon:
            raise ValueError("it is neither a path nor an address with a port")
        host, port = split_address(where)
    except ValueError as wrong:
        raise _unusable(said_by, value, str(wrong)) from None
    if not host:
        raise _unusable(said_by, value, "it names no machine")
    if scheme == "ws" and not is_loopback(host):
        raise _unusable(said_by, value, "without TLS everybody on the way could read the token; use wss://")
    if scheme == "wss" and ":" not in where.rpartition("]")[2]:
        port = 443
    return RemoteServer(host=host, port=port, url=value if scheme in {"ws", "wss"} else "", **known)  # type: ignore[arg-type]  # each of its own type


def refuse_joined(paths: StatePaths) -> None:
    """Raises MachineJoined where this machine runs containers for another's server, and has none of its own."""
    joined = read_joined(paths)
    if joined is not None:
        raise MachineJoined(f"this machine has joined {joined.server}, and has no server of its own")


def _unusable(said_by: str, value: str, why: str) -> InvalidError:
    return InvalidError(
        f"{said_by}={value!r} cannot be used: {why}",
        remedy="give HOST:PORT, wss://HOST/PATH, or the path of a server's socket (unix:/path/to/server.sock), "
        "or unset it to use this machine's own server",
    )
