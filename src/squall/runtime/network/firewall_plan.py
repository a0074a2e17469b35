"""The firewall of a machine's containers, as values: which packets pass, and the addresses that containers have."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final, Literal

# What no container reaches, whatever else is allowed: "this" network and loopback, metadata services of clouds (the
# link-local one, Alibaba's, Oracle's, Azure's), multicast and what is reserved.
ALWAYS_DENIED: Final = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "168.63.129.16/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
# Of each container network the first addresses are the host's.
_FIRST_OF_CONTAINERS: Final = 16
_DNS: Final = 53
_TCP, _UDP = 6, 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A packet that comes in, or goes out, through a device; by the beginning of its name, or by all of it."""

    way: Literal["in", "out"]
    name: str
    whole: bool = False
    other: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A packet from, or to, an address in `network`. other: any but those."""

    side: Literal["from", "to"]
    network: str
    other: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Version4:
    """A packet of IPv4. other: of anything else."""

    other: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A packet of this protocol to this port."""

    protocol: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A packet that belongs to what is under way already."""


Match = Device | Address | Version4 | Port | Answer
Verdict = Literal["accept", "drop", "reject", "masquerade"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to a packet for which every match holds."""

    matches: tuple[Match, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Rules at one place of a packet's way; what none decides on passes, as far as we are concerned."""

    name: str
    kind: Literal["filter", "nat"]
    hook: Literal["input", "forward", "output", "postrouting"]
    priority: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Everything of one Squall, put in place and taken away as a whole."""

    name: str
    chains: tuple[Chain, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """What the rules are made from.

    prefix: how our devices' names begin. network: the containers' addresses. resolvers: name servers that they may ask
    wherever those are. denied: what they reach beside ALWAYS_DENIED as little. opened: devices that pass packets on
    only because we asked for it, so that nobody else's go through.
    """

    table: str
    prefix: str
    network: str
    resolvers: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()


def plan_table(firewall: Firewall) -> Table:
    """The rules: out into the world, and neither to each other nor to the host."""
    return Table(
        name=firewall.table,
        chains=(
            Chain(name="forward", kind="filter", hook="forward", priority=0, rules=_forward(firewall)),
            Chain(name="input", kind="filter", hook="input", priority=0, rules=_input(firewall)),
            Chain(name="output", kind="filter", hook="output", priority=0, rules=_output(firewall)),
            Chain(
                name="postrouting", kind="nat", hook="postrouting", priority=100, rules=_masquerade(firewall)
            ),
        ),
    )


def _forward(firewall: Firewall) -> tuple[Rule, ...]:
    ours = Device(way="in", name=firewall.prefix)
    to_ours = Device(way="out", name=firewall.prefix)
    denied = (*ALWAYS_DENIED, firewall.network, *firewall.denied)
    return (
        Rule(matches=(ours, Version4(other=True)), verdict="drop"),
        Rule(matches=(ours, Address(side="from", network=firewall.network, other=True)), verdict="drop"),
        Rule(matches=(ours, to_ours), verdict="reject"),
        *_to_resolvers(firewall, ours),
        *(Rule(matches=(ours, Address(side="to", network=one)), verdict="reject") for one in denied),
        Rule(matches=(ours,), verdict="accept"),
        Rule(matches=(to_ours, Answer()), verdict="accept"),
        Rule(matches=(to_ours,), verdict="drop"),
        # Both named: what somebody else adds later, and has pass packets on, is none of our business.
        *(
            Rule(
                matches=(Device(way="in", name=one, whole=True), Device(way="out", name=other, whole=True)),
                verdict="drop",
            )
            for one in firewall.opened
            for other in firewall.opened
        ),
    )


def _input(firewall: Firewall) -> tuple[Rule, ...]:
    ours = Device(way="in", name=firewall.prefix)
    return (
        Rule(matches=(ours, Answer()), verdict="accept"),
        *_to_resolvers(firewall, ours),
        Rule(matches=(ours, Version4()), verdict="reject"),
        Rule(matches=(ours,), verdict="drop"),
    )


def _output(firewall: Firewall) -> tuple[Rule, ...]:
    """What a container listens on is not there for the host's users either."""
    to_ours = Device(way="out", name=firewall.prefix)
    return (
        Rule(matches=(to_ours, Answer()), verdict="accept"),
        Rule(matches=(to_ours,), verdict="reject"),
    )


def _to_resolvers(firewall: Firewall, ours: Device) -> Iterator[Rule]:
    for resolver in firewall.resolvers:
        for protocol in (_UDP, _TCP):
            yield Rule(
                matches=(
                    ours,
                    Version4(),
                    Address(side="to", network=f"{resolver}/32"),
                    Port(protocol=protocol, number=_DNS),
                ),
                verdict="accept",
            )


def _masquerade(firewall: Firewall) -> tuple[Rule, ...]:
    return (
        Rule(
            matches=(
                Version4(),
                Address(side="from", network=firewall.network),
                Device(way="out", name=firewall.prefix, other=True),
            ),
            verdict="masquerade",
        ),
    )


def choose_network(instance: str, taken: Iterable[str]) -> str | None:
    """The containers' network of `instance` (hexadecimal digits): a /16 that nothing in `taken` overlaps, if any.

    taken: networks that the host has routes to, and its resolvers. Different instances begin to look at different
    places, so that two on one machine seldom meet.
    """
    used = [IPv4Network(one, strict=False) for one in taken]
    candidates = [IPv4Network((f"10.{second}.0.0", 16)) for second in range(64, 256)]
    candidates += [IPv4Network((f"172.{second}.0.0", 16)) for second in range(20, 32)]
    start = int(instance[:8], 16) % len(candidates)
    for candidate in (*candidates[start:], *candidates[:start]):
        if not any(candidate.overlaps(one) for one in used):
            return str(candidate)
    return None


def gateway_of(network: str) -> str:
    """The host's address in the containers' network."""
    return str(IPv4Network(network)[1])


def address_at(network: str, number: int) -> str:
    """The address of container number `number`, counted from 0, of `room_in(network)` many."""
    return str(IPv4Network(network)[_FIRST_OF_CONTAINERS + number])


def number_of(network: str, address: str) -> int:
    """Which container has `address`. Raises ValueError where that is none of this network."""
    number = int(IPv4Address(address)) - int(IPv4Network(network)[0]) - _FIRST_OF_CONTAINERS
    if not 0 <= number < room_in(network):
        raise ValueError(f"{address} is no container's address in {network}")
    return number


def room_in(network: str) -> int:
    """How many containers a network has addresses for."""
    return IPv4Network(network).num_addresses - _FIRST_OF_CONTAINERS - 1


def free_number(taken: frozenset[int] | set[int], last: int, room: int) -> int | None:
    """The next number after `last` that is not in `taken`, around the end; None when all are.

    Going round keeps an address unused for as long as it can be: what belonged to it is gone by then.
    """
    return next((n % room for n in range(last + 1, last + 1 + room) if n % room not in taken), None)
