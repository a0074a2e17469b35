"""A veth: the pair of devices that joins a container's network to the host's, made from the host's side."""

import os
import socket
import struct
from contextlib import ExitStack
from typing import Final

from squall.runtime import syscalls
from squall.runtime.network import netlink
from squall.runtime.network.netlink import ACK, CREATE, EXCLUSIVE, Message, attribute, nested, number, text
from squall.runtime.spec import Veth

# What a container's end is called inside.
INNER: Final = "eth0"

_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 20, 24
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_IF_NAME, _IF_MTU, _IF_INFO, _IF_NAMESPACE_PID, _IF_FAMILIES = 3, 4, 18, 19, 26
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_INET_CONF, _CONF_FORWARDING, _CONF_REDIRECTS, _CONF_RP_FILTER = 1, 1, 6, 8
_INET6_ADDRESS_MODE, _MODE_NONE = 8, 1
_UP = 0x1
# A new network has its loopback, which is 1, and whatever comes next is 2.
_FIRST_DEVICE = 2
_MAIN_TABLE, _BY_STATIC, _UNIVERSE, _ON_LINK, _UNICAST = 254, 4, 0, 253, 1


def attach(veth: Veth, pid: int) -> None:
    """Join the network of the process `pid`, which has nothing but its loopback, to ours by `veth`.

    Needs root of the host. When that network ends, or the host's end is removed, both ends are gone. Raises OSError.
    """
    with netlink.Netlink(netlink.ROUTE) as ours:
        ours.tell(*outer_messages(veth, pid))
        ours.tell(*address_messages(veth, socket.if_nametoindex(veth.name)))
    with _netlink_in(pid) as theirs:
        theirs.tell(*inner_messages(veth, _FIRST_DEVICE))


def outer_messages(veth: Veth, pid: int) -> tuple[Message, ...]:
    """The pair, one end in the network of `pid`; the host's end passes packets on, but none with a false sender."""
    inner = nested(
        _VETH_PEER,
        _link(0),
        text(_IF_NAME, INNER),
        number(_IF_MTU, veth.mtu),
        number(_IF_NAMESPACE_PID, pid),
    )
    kind = nested(_IF_INFO, text(_INFO_KIND, "veth"), nested(_INFO_DATA, inner))
    conf = nested(
        _INET_CONF,
        number(_CONF_FORWARDING, 1),
        number(_CONF_REDIRECTS, 0),
        number(_CONF_RP_FILTER, 1),
    )
    families = nested(_IF_FAMILIES, nested(socket.AF_INET, conf), _no_ipv6())
    named = text(_IF_NAME, veth.name)
    about = f"the device {veth.name}"
    return (
        Message(
            kind=_NEW_LINK,
            flags=ACK | CREATE | EXCLUSIVE,
            body=_link(0) + named + number(_IF_MTU, veth.mtu) + kind,
            about=about,
        ),
        Message(kind=_NEW_LINK, flags=ACK, body=_link(0, up=True) + named + families, about=about),
    )


def address_messages(veth: Veth, device: int) -> tuple[Message, ...]:
    """The host's end has the gateway's address, and the container's lies behind it: that is its route too."""
    body = (
        _ADDRESS.pack(socket.AF_INET, 32, 0, _UNIVERSE, device)
        + attribute(2, _packed(veth.gateway))
        + attribute(1, _packed(veth.address))
    )
    return (Message(kind=_NEW_ADDRESS, flags=ACK | CREATE, body=body, about=veth.gateway),)


def inner_messages(veth: Veth, device: int) -> tuple[Message, ...]:
    """Inside: one address, and everything else through the gateway."""
    address = _packed(veth.address)
    on_device = number(4, device)
    return (
        # Two messages: a device that is brought up in the first would have its address of IPv6 by then.
        Message(
            kind=_NEW_LINK, flags=ACK, body=_link(device) + nested(_IF_FAMILIES, _no_ipv6()), about=INNER
        ),
        Message(kind=_NEW_LINK, flags=ACK, body=_link(device, up=True), about=INNER),
        Message(
            kind=_NEW_ADDRESS,
            flags=ACK | CREATE,
            body=_ADDRESS.pack(socket.AF_INET, 32, 0, _UNIVERSE, device)
            + attribute(2, address)
            + attribute(1, address),
            about=veth.address,
        ),
        Message(
            kind=_NEW_ROUTE,
            flags=ACK | CREATE,
            body=_route(32, _ON_LINK) + attribute(1, _packed(veth.gateway)) + on_device,
            about=f"the route to {veth.gateway}",
        ),
        Message(
            kind=_NEW_ROUTE,
            flags=ACK | CREATE,
            body=_route(0, _UNIVERSE) + attribute(5, _packed(veth.gateway)) + on_device,
            about=f"the route through {veth.gateway}",
        ),
    )


def _no_ipv6() -> bytes:
    """No address of its own making: what nobody filters is not there."""
    if not os.path.exists("/proc/sys/net/ipv6"):
        return b""
    return nested(socket.AF_INET6, attribute(_INET6_ADDRESS_MODE, bytes((_MODE_NONE,))))


def _link(device: int, *, up: bool = False) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, device, _UP if up else 0, _UP if up else 0)


def _route(prefix: int, scope: int) -> bytes:
    return _ROUTE.pack(socket.AF_INET, prefix, 0, 0, _MAIN_TABLE, _BY_STATIC, scope, _UNICAST, 0)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET, address)


def _netlink_in(pid: int) -> netlink.Netlink:
    """A socket of the network that `pid` is in. Single-threaded callers only: the process is there for a moment."""
    with ExitStack() as stack:
        # Ours first: without the other one there is nothing to return from.
        home, there = (
            stack.enter_context(open(f"/proc/{one}/ns/net", "rb", buffering=0)) for one in ("self", pid)
        )
        syscalls.setns(there.fileno(), syscalls.CLONE_NEWNET)
        try:
            return netlink.Netlink(netlink.ROUTE)
        finally:
            syscalls.setns(home.fileno(), syscalls.CLONE_NEWNET)
