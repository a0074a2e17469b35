"""Listen: an address beyond this machine's socket, and how it is remembered."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squall.model.errors import ListenRefused
from squall.settings.whole_file import write_whole

PORT: Final = 7443


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where a server listens. names: others by which it is reached, which stand in its certificate too.

    plain: without TLS, for a proxy on this machine that speaks TLS for it.
    """

    host: str
    port: int
    names: tuple[str, ...] = ()
    plain: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_address(text: str, *, plain: bool = False, names: Iterable[str] = ()) -> ListenAddress:
    """`HOST:PORT`, `HOST`, `:PORT` or `[IPV6]:PORT`; no host means every address, no port PORT.

    Raises ListenRefused: also for a plain one beyond loopback, where anybody on the way could read and speak.
    """
    try:
        host, port = split_address(text)
    except ValueError as wrong:
        raise ListenRefused(str(wrong)) from wrong
    host = host or "0.0.0.0"  # noqa: S104 - what the owner asked for; TLS and a token are demanded there
    if plain and not is_loopback(host):
        raise ListenRefused(
            f"{text} is reached from other machines, and without TLS everybody on the way could read tokens and calls",
            remedy="leave out --plain, or listen on 127.0.0.1 behind a proxy that speaks TLS",
        )
    return ListenAddress(host=host, port=port, names=tuple(names), plain=plain)


def split_address(text: str) -> tuple[str, int]:
    """The host, perhaps empty, and the port of an address. Raises ValueError, which says what is wrong with it."""
    text = text.strip()
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        whole = bool(closed) and rest[:1] in {"", ":"}
        port = rest[1:]
    elif text.count(":") > 1:
        raise ValueError(f"{text!r} is no HOST:PORT; an IPv6 address stands in brackets: [::1]:{PORT}")
    else:
        host, colon, port = text.partition(":")
        whole = True
        if not colon and text.isdecimal():
            host, port = "", text
    if not whole or any(map(str.isspace, host)) or not (port or "1").isdecimal() or int(port or PORT) > 65535:
        raise ValueError(f"{text!r} is no HOST:PORT with a port up to 65535")
    return host, int(port) if port else PORT


def is_loopback(host: str) -> bool:
    """Whether this is an address of this machine for itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def write_listen(path: Path, address: ListenAddress | None) -> None:
    """Remembers where to listen from the next start on; None: nowhere. Raises OSError."""
    if address is None:
        path.unlink(missing_ok=True)
        return
    said = {"host": address.host, "port": address.port, "names": address.names, "plain": address.plain}
    write_whole(path, json.dumps(said).encode())


def read_listen(path: Path) -> ListenAddress | None:
    """What was remembered; None where nothing was. Raises ListenRefused for a file that is none of ours."""
    try:
        said = json.loads(path.read_bytes())
        return ListenAddress(
            host=str(said["host"]),
            port=int(said["port"]),
            names=tuple(map(str, said["names"])),
            plain=bool(said["plain"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as wrong:
        raise ListenRefused(
            f"{path} does not say where to listen", remedy="say it anew with `squall up --listen HOST:PORT`"
        ) from wrong
