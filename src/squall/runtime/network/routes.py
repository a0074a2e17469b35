"""Routes: where a network namespace sends what, read and written."""

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from squall.runtime.network import netlink
from squall.runtime.network.netlink import ACK, CREATE, REPLACE, Message, attribute

_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE, _GET_ADDRESS = 24, 25, 26, 22
_ROUTE = struct.Struct("=BBBBBBBBI")
_ADDRESS = struct.Struct("=BBBBi")
_TO, _DEVICE = 1, 4
_LOCAL = 2
_MAIN_TABLE, _LOCAL_TABLE = 254, 255
_BY_STATIC, _UNIVERSE, _UNICAST, _UNREACHABLE = 4, 0, 1, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where packets for `network` go: a device, None where they go nowhere."""

    network: str
    device: str | None


def routes() -> tuple[Route, ...]:
    """The routes of IPv4, those to the host itself left out."""
    with netlink.Netlink(netlink.ROUTE) as kernel:
        rows = kernel.list(_GET_ROUTE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
    found = []
    for row in rows:
        _, prefix, _, _, table, _, _, _, _ = _ROUTE.unpack_from(row)
        known = netlink.attributes(row[_ROUTE.size :])
        if table == _LOCAL_TABLE:
            continue
        network = f"{socket.inet_ntoa(known.get(_TO, bytes(4)))}/{prefix}"
        device = _device_called(known[_DEVICE]) if _DEVICE in known else None
        found.append(Route(network=network, device=device))
    return tuple(found)


def own_addresses() -> tuple[str, ...]:
    """The addresses of IPv4 that this host has, its loopback's left out."""
    with netlink.Netlink(netlink.ROUTE) as kernel:
        rows = kernel.list(_GET_ADDRESS, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0))
    locals_ = [netlink.attributes(row[_ADDRESS.size :]).get(_LOCAL) for row in rows]
    found = [IPv4Address(one) for one in locals_ if one is not None]
    return tuple(str(one) for one in found if not one.is_loopback)


def make_unreachable(networks: tuple[str, ...]) -> None:
    """Let nothing be sent to `networks` from here, unless something narrower is known. Raises OSError."""
    with netlink.Netlink(netlink.ROUTE) as kernel:
        kernel.tell(*(_unreachable(_NEW_ROUTE, one, CREATE | REPLACE) for one in networks))


def make_reachable(network: str) -> None:
    """Take back what `make_unreachable` did. Raises OSError."""
    with netlink.Netlink(netlink.ROUTE) as kernel:
        kernel.tell(_unreachable(_DELETE_ROUTE, network, 0))


def _unreachable(kind: int, network: str, flags: int) -> Message:
    parsed = IPv4Network(network)
    body = _ROUTE.pack(
        socket.AF_INET, parsed.prefixlen, 0, 0, _MAIN_TABLE, _BY_STATIC, _UNIVERSE, _UNREACHABLE, 0
    )
    to = attribute(_TO, parsed.network_address.packed)
    return Message(kind=kind, flags=ACK | flags, body=body + to, about=f"the route to {network}")


def _device_called(index: bytes) -> str | None:
    try:
        return socket.if_indextoname(struct.unpack("=I", index)[0])
    except OSError:
        return None  # It has gone since.
