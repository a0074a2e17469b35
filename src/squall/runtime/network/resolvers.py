"""Resolvers: which name servers containers can ask, from what the host asks itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Final

# The host's own list, and those behind a resolver of the host's that only the host can reach.
PLACES: Final = (
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolvers:
    """path: the file that a container may see as its /etc/resolv.conf, empty for none; servers: those it names."""

    path: str = ""
    servers: tuple[str, ...] = ()


def choose_resolvers(texts: Mapping[str, str]) -> Resolvers:
    """The first of PLACES whose servers answer to others than the host itself. texts: what each holds, by its path."""
    for place in PLACES:
        servers = servers_in(texts.get(place, ""))
        if servers:
            return Resolvers(path=place, servers=servers)
    return Resolvers()


def servers_in(text: str) -> tuple[str, ...]:
    """The name servers that a resolv.conf names: those of IPv4, and none that is the host's loopback."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                server = ip_address(words[1])
            except ValueError:
                continue
            if isinstance(server, IPv4Address) and not server.is_loopback:
                found.append(str(server))
    return tuple(found)
