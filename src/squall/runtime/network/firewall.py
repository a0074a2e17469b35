"""The firewall of a machine's containers, put up and taken down: rules, a route, and what passes packets on."""

import fcntl
import json
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from squall.runtime.network import netlink, nft, routes
from squall.runtime.network.firewall_plan import (
    Firewall,
    choose_network,
    plan_table,
)
from squall.runtime.network.netlink import ACK, Message
from squall.runtime.network.resolvers import PLACES, Resolvers, choose_resolvers

_TABLES: Final = "squall_"
_DELETE_LINK: Final = 17
_CONF: Final = "/proc/sys/net/ipv4/conf"
_SIOCGIFMTU: Final = 0x8921
_LEAST_MTU, _USUAL_MTU = 1280, 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A firewall that is up: its rules, the resolvers behind it, the MTU of the way out."""

    rules: Firewall
    resolvers: Resolvers
    mtu: int


def put_up(instance: str, record: str, *, network: str = "", denied: tuple[str, ...] = ()) -> Standing:
    """Let containers of `instance` out into the world and nowhere else; again, where it stands already.

    record: a file that says what was changed on the host, for `take_down` and for whoever comes after this process.
    network: the containers' addresses, else chosen. Raises OSError where the kernel refuses, or no network is free.
    """
    before = _read(record)
    prefix = prefix_of(instance)
    seen = [one for one in routes.routes() if one.device is None or not one.device.startswith(prefix)]
    resolvers = look_at_resolvers()
    taken = [one.network for one in seen if one.network not in {"0.0.0.0/0", before.get("network")}]
    chosen = network or before.get("network") or choose_network(instance, [*taken, *resolvers.servers])
    if chosen is None:
        raise OSError("every network that containers could have overlaps one of the host's")
    devices = {one.device for one in seen if one.device not in {None, "lo"}}
    opened = {one for one in devices if one is not None and _is_closed(one)} | set(before.get("opened", ()))
    rules = Firewall(
        table=_TABLES + instance,
        prefix=prefix,
        network=chosen,
        resolvers=resolvers.servers,
        denied=denied,
        opened=() if _passes_everything_on() else tuple(sorted(opened)),
    )
    if before.get("network") not in {None, chosen}:
        with suppress(ProcessLookupError):
            routes.make_reachable(before["network"])
    _write(record, {"network": chosen, "opened": list(rules.opened)})
    nft.install(plan_table(rules))
    # For other networks to see that this one is taken, and for packets to containers that are gone to end here.
    routes.make_unreachable((chosen,))
    for device in rules.opened:
        _pass_on(device, "1")
    default = {one.device for one in seen if one.network == "0.0.0.0/0"} or devices
    return Standing(rules=rules, resolvers=resolvers, mtu=min(map(_mtu_of, default), default=_USUAL_MTU))


def stand_again(standing: Standing) -> bool:
    """Put the rules back, if somebody has taken them away; whether they were gone. Raises OSError."""
    if standing.rules.table in nft.tables():
        return False
    nft.install(plan_table(standing.rules))
    return True


def take_down(instance: str, record: str) -> None:
    """Leave the host as it was before `put_up`; nothing where it never was. Raises OSError."""
    before = _read(record)
    remove_devices(devices_of(instance))
    with suppress(FileNotFoundError):
        nft.remove(_TABLES + instance)
    if before.get("network"):
        # ESRCH, of which Python makes this: the route is gone already.
        with suppress(ProcessLookupError):
            routes.make_reachable(before["network"])
    if not any(name.startswith(_TABLES) for name in nft.tables()):
        for device in before.get("opened", ()):
            with suppress(FileNotFoundError):
                _pass_on(device, "0")
    with suppress(FileNotFoundError):
        os.unlink(record)


def devices_of(instance: str) -> tuple[str, ...]:
    """The host's ends of an instance's containers, by their names."""
    return tuple(name for _, name in socket.if_nameindex() if name.startswith(prefix_of(instance)))


def remove_devices(names: tuple[str, ...]) -> None:
    """Take devices away, and their other ends with them."""
    with netlink.Netlink(netlink.ROUTE) as kernel:
        for name in names:
            body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0) + netlink.text(3, name)
            # One whose container has just ended may go by itself meanwhile.
            with suppress(OSError):
                kernel.tell(Message(kind=_DELETE_LINK, flags=ACK, body=body, about=name))


def prefix_of(instance: str) -> str:
    """How the names of an instance's devices begin; at most 15 characters are one, and seven are left."""
    return f"sq{instance[:6]}"


def device_of(instance: str, number: int) -> str:
    """The host's end of container number `number`."""
    return f"{prefix_of(instance)}{number:x}"


def look_at_resolvers() -> Resolvers:
    """The resolvers that containers can ask now."""
    texts = {}
    for place in PLACES:
        with suppress(OSError), open(place, encoding="utf-8", errors="replace") as file:
            texts[place] = file.read()
    return choose_resolvers(texts)


def _passes_everything_on() -> bool:
    """Whether this host is a router already: then whoever made it one decides on what passes."""
    return not _is_closed("all")


def _is_closed(device: str) -> bool:
    try:
        with open(f"{_CONF}/{device}/forwarding", encoding="ascii") as file:
            return file.read().strip() == "0"
    except OSError:
        return False


def _pass_on(device: str, value: str) -> None:
    with open(f"{_CONF}/{device}/forwarding", "w", encoding="ascii") as file:
        file.write(value)


def _mtu_of(device: str | None) -> int:
    asked = struct.pack("16sh22x", str(device).encode(), 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, asked)
    except OSError:
        return _USUAL_MTU
    mtu: int = struct.unpack_from("=i", answer, 16)[0]
    return min(max(_LEAST_MTU, mtu), _USUAL_MTU)


def _read(record: str) -> dict[str, Any]:
    try:
        with open(record, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(record: str, what: dict[str, Any]) -> None:
    fresh = f"{record}.new"
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(what, file)
    os.replace(fresh, record)
