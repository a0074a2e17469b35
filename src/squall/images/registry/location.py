"""Location: where a request goes, and which places a registry may lead to. Pure."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

_LONGEST: Final = 8_192
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[\x21-\x7e]*")
# A gateway turns these into the IPv4 address in their last four bytes.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(enum.IntEnum):
    """Who can reach an address: the higher, the fewer."""

    PUBLIC = 0
    PRIVATE = 1  # a company's or a home's network
    MACHINE = 2  # this machine and its link: among them the services that tell a cloud's machine its secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """An address of http or https. host: without brackets, in small letters. target: path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Who answers there: credentials are for one origin."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port as the Host header and people write them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        # Without the target: its query may hold a signature that opens the place to anybody.
        return f"{self.scheme}://{self.authority}"


def parse_location(text: str, base: Location | None = None) -> Location:
    """The location that `text` names, seen from `base`. Raises ValueError, which says what is wrong without repeating it."""
    if len(text) > _LONGEST:
        raise ValueError(f"an address of {len(text)} characters")
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("an address with characters that none may have")
    if base is not None:
        text = urljoin(f"{base}{base.target}", text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("an address that cannot be read") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("an address that is neither http nor https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address with a user in it")
    if not parts.hostname or port == 0:
        raise ValueError("an address without a host")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname.lower()
    return Location(scheme=parts.scheme, host=host, port=port or _DEFAULT_PORTS[parts.scheme], target=target)


def why_not_led(to: Location, *, registry: Location) -> str | None:
    """Why a registry may not lead to `to`, or None where it may. Its addresses are judged apart, by `within`.

    Only https keeps what is fetched from others' eyes; plain http is for this machine, and for a registry that is
    spoken to in plain http itself.
    """
    if to.scheme == "https" or is_loopback(to.host) or to.origin == registry.origin:
        return None
    return "it leads from there to plain http"


def is_loopback(host: str) -> bool:
    """Whether `host` is a name or an address that means this machine, whoever is asked."""
    if host == "localhost":
        return True
    address = ip_address(host)
    return address is not None and _plain(address).is_loopback


def ip_address(host: str) -> IpAddress | None:
    """`host` as an address, or None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def reach_of(address: IpAddress) -> Reach:
    """Who can reach this address."""
    plain = _plain(address)
    if plain.is_loopback or plain.is_link_local or plain.is_unspecified:
        return Reach.MACHINE
    if plain.is_global and not plain.is_multicast:
        return Reach.PUBLIC
    return Reach.PRIVATE


def widest(addresses: Iterable[IpAddress]) -> Reach:
    """Who can reach a host of these addresses: one public address makes it public."""
    return min(map(reach_of, addresses), default=Reach.PUBLIC)


def within(addresses: Iterable[IpAddress], registry: Reach) -> tuple[IpAddress, ...]:
    """Those of `addresses` to which a registry of this reach may lead: never to a place that fewer can reach than itself."""
    return tuple(address for address in addresses if reach_of(address) <= registry)


def _plain(address: IpAddress) -> IpAddress:
    """The IPv4 address that an IPv6 one stands for, where it stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
