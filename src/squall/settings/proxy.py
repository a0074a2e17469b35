"""Proxy: which one the environment of this process wants for a connection. Pure."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from squall.model.errors import InvalidError


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy; authorization: the value of its Proxy-Authorization header, where it wants one."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for `host` and `port` by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (small letters go first), or None.

    scheme: "http" or "https", whichever the connection is like. host: in small letters, without brackets.
    This machine itself is never asked for through a proxy. Raises InvalidError for a variable that makes no sense.
    """
    if _is_loopback(host) or _excepted(host, port, _variable(environ, "no_proxy")[1]):
        return None
    for name in (f"{scheme}_proxy", "all_proxy"):
        spelled, text = _variable(environ, name)
        if text:
            return _parse(spelled, text)
    return None


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    for spelled in (name, name.upper()):
        if environ.get(spelled, "").strip():
            return spelled, environ[spelled].strip()
    return name, ""


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _excepted(host: str, port: int, text: str) -> bool:
    address = _address(host)
    for entry in text.lower().replace(",", " ").split():
        if entry == "*":
            return True
        try:
            if address is not None and address in ipaddress.ip_network(entry.strip("[]"), strict=False):
                return True
        except ValueError:
            pass  # a name
        before, colon, behind = entry.rpartition(":")
        if colon and behind.isdigit() and not before.endswith(":"):
            if int(behind) != port:
                continue
            entry = before  # noqa: PLW2901 - the entry goes on without its port
        name = entry.strip("[]").removeprefix("*").removeprefix(".")
        if name and (host == name or host.endswith("." + name)):
            return True
    return False


def _parse(variable: str, text: str) -> Proxy:
    """Never repeats the value: it may have a password in it."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme != "http":
        raise InvalidError(
            f"the environment variable {variable} names no proxy that can be used",
            remedy=f"set {variable} to http://HOST:PORT, or add the host to NO_PROXY",
        )
    authorization = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(login.encode()).decode()
    return Proxy(host=host, port=port or 80, authorization=authorization)
