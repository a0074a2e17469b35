"""nft: tables of the kernel's packet filter as netlink messages, and their being put in place."""

import socket
import struct
from ipaddress import IPv4Network
from typing import Final, assert_never

from squall.runtime.network import netlink
from squall.runtime.network.firewall_plan import (
    Address,
    Answer,
    Chain,
    Device,
    Match,
    Port,
    Rule,
    Table,
    Verdict,
    Version4,
)
from squall.runtime.network.netlink import ACK, APPEND, CREATE, Message, attribute, big, nested, text

_SUBSYSTEM: Final = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _GET_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE = (_SUBSYSTEM << 8 | n for n in (0, 1, 2, 3, 6))
_FAMILY_INET: Final = 1
# The group of those whom the kernel tells of changes to rules.
_CHANGES: Final = 7
_HEAD = struct.Struct("!BBH")
_HOOKS: Final = {"input": 1, "forward": 2, "output": 3, "postrouting": 4}
_REGISTER, _VERDICT_REGISTER = 1, 0
_EQUAL, _NOT_EQUAL = 0, 1
_META_IN, _META_OUT, _META_FAMILY, _META_PROTOCOL = 6, 7, 15, 16
_ESTABLISHED_OR_RELATED: Final = 2 | 4
_IP_HEADER, _TRANSPORT_HEADER = 1, 2
_FROM_AT, _TO_AT, _PORT_AT = 12, 16, 2
_NAME_BYTES: Final = 16
# "Administratively prohibited", in the words of the packet's own version of IP.
_REJECT_ANY_IP, _PROHIBITED = 2, 3


def install(table: Table) -> None:
    """Put `table` in the place of whatever had its name, all of it or nothing. Raises OSError."""
    with netlink.Netlink(netlink.NETFILTER) as kernel:
        kernel.tell(*_batch(install_messages(table)))


def remove(name: str) -> None:
    """Take the table `name` away. Raises OSError, FileNotFoundError where there is none."""
    with netlink.Netlink(netlink.NETFILTER) as kernel:
        kernel.tell(*_batch((_about_table(_DELETE_TABLE, name),)))


def tables() -> tuple[str, ...]:
    """The names of all tables of both versions of IP that there are."""
    with netlink.Netlink(netlink.NETFILTER) as kernel:
        rows = kernel.list(_GET_TABLE, _HEAD.pack(_FAMILY_INET, 0, 0))
    found = [netlink.attributes(row[_HEAD.size :]).get(1, b"") for row in rows]
    return tuple(name.rstrip(b"\0").decode(errors="replace") for name in found)


def watch() -> socket.socket:
    """A socket, not blocking, that can be read whenever somebody has changed rules. Raises OSError."""
    watching = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, netlink.NETFILTER)
    try:
        watching.bind((0, 1 << _CHANGES - 1))
    except OSError:
        watching.close()
        raise
    watching.setblocking(False)
    return watching


def install_messages(table: Table) -> tuple[Message, ...]:
    """What makes `table`. It is made twice: only what is there can be taken away, and that without an error."""
    return (
        _about_table(_NEW_TABLE, table.name, flags=CREATE),
        _about_table(_DELETE_TABLE, table.name),
        _about_table(_NEW_TABLE, table.name, flags=CREATE),
        *(_chain(table, chain) for chain in table.chains),
        *(_rule(table, chain, rule) for chain in table.chains for rule in chain.rules),
    )


def _batch(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    frame = _HEAD.pack(socket.AF_UNSPEC, 0, _SUBSYSTEM)
    begin = Message(kind=_BATCH_BEGIN, flags=0, body=frame)
    return (begin, *messages, Message(kind=_BATCH_END, flags=0, body=frame))


def _about_table(kind: int, name: str, *, flags: int = 0) -> Message:
    body = _HEAD.pack(_FAMILY_INET, 0, 0) + text(1, name)
    return Message(kind=kind, flags=ACK | flags, body=body, about=f"the table {name}")


def _chain(table: Table, chain: Chain) -> Message:
    hook = nested(4, big(1, _HOOKS[chain.hook]), big(2, chain.priority))
    body = _HEAD.pack(_FAMILY_INET, 0, 0) + text(1, table.name) + text(3, chain.name) + hook
    return Message(
        kind=_NEW_CHAIN,
        flags=ACK | CREATE,
        body=body + big(5, 1) + text(7, chain.kind),
        about=f"the chain {chain.name}",
    )


def _rule(table: Table, chain: Chain, rule: Rule) -> Message:
    parts = [part for match in rule.matches for part in _match(match)]
    expressions = nested(4, *parts, _verdict(rule.verdict))
    body = _HEAD.pack(_FAMILY_INET, 0, 0) + text(1, table.name) + text(2, chain.name) + expressions
    return Message(kind=_NEW_RULE, flags=ACK | CREATE | APPEND, body=body, about=f"the rule {rule}")


def _match(match: Match) -> tuple[bytes, ...]:
    match match:
        case Device():
            key = _META_IN if match.way == "in" else _META_OUT
            name = match.name.encode()
            wanted = name.ljust(_NAME_BYTES, b"\0") if match.whole else name
            return (_meta(key), _compare(wanted, other=match.other))
        case Version4():
            return (_meta(_META_FAMILY), _compare(bytes((socket.AF_INET,)), other=match.other))
        case Address():
            network = IPv4Network(match.network)
            offset = _FROM_AT if match.side == "from" else _TO_AT
            return (
                _payload(_IP_HEADER, offset, 4),
                _masked(network.netmask.packed),
                _compare(network.network_address.packed, other=match.other),
            )
        case Port():
            return (
                _meta(_META_PROTOCOL),
                _compare(bytes((match.protocol,))),
                _payload(_TRANSPORT_HEADER, _PORT_AT, 2),
                _compare(struct.pack("!H", match.number)),
            )
        case Answer():
            return (
                _expression("ct", big(1, _REGISTER), big(2, 0)),
                _masked(struct.pack("=I", _ESTABLISHED_OR_RELATED)),
                _compare(bytes(4), other=True),
            )
        case _:
            assert_never(match)


def _verdict(verdict: Verdict) -> bytes:
    match verdict:
        case "accept" | "drop":
            code = nested(2, big(1, 1 if verdict == "accept" else 0))
            return _expression("immediate", big(1, _VERDICT_REGISTER), nested(2, code))
        case "reject":
            return _expression("reject", big(1, _REJECT_ANY_IP), attribute(2, bytes((_PROHIBITED,))))
        case "masquerade":
            return _expression("masq")
        case _:
            assert_never(verdict)


def _meta(key: int) -> bytes:
    return _expression("meta", big(2, key), big(1, _REGISTER))


def _payload(header: int, offset: int, size: int) -> bytes:
    return _expression("payload", big(1, _REGISTER), big(2, header), big(3, offset), big(4, size))


def _masked(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        big(1, _REGISTER),
        big(2, _REGISTER),
        big(3, len(mask)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, bytes(len(mask)))),
    )


def _compare(value: bytes, *, other: bool = False) -> bytes:
    operation = _NOT_EQUAL if other else _EQUAL
    return _expression("cmp", big(1, _REGISTER), big(2, operation), nested(3, attribute(1, value)))


def _expression(name: str, *inside: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *inside))
