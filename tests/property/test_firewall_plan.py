"""What holds for the rules between containers and the world, judged packet by packet by a small model of the filter."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import assert_never

from hypothesis import given, strategies as st

from squall.runtime.network.firewall_plan import (
    ALWAYS_DENIED,
    Address,
    Answer,
    Device,
    Firewall,
    Match,
    Port,
    Version4,
    address_at,
    choose_network,
    free_number,
    number_of,
    plan_table,
    room_in,
)

NETWORK = "10.88.0.0/16"
RULES = Firewall(
    table="squall_t",
    prefix="sqabcdef",
    network=NETWORK,
    resolvers=("192.168.1.1", "169.254.169.253"),
    denied=("192.168.7.0/24",),
    opened=("eth0", "eth1"),
)
PASSES = {"accept", "masquerade", None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What a rule can look at. entry, way_out: devices, empty where it begins or ends on the host itself."""

    entry: str = ""
    way_out: str = ""
    sender: str = "10.88.0.20"
    to: str = "203.0.113.1"
    port: int = 443
    protocol: int = 6
    version: int = 4
    answer: bool = False


def fate(packet: Packet, hook: str, firewall: Firewall = RULES) -> str | None:
    (chain,) = (one for one in plan_table(firewall).chains if one.hook == hook)
    return next((r.verdict for r in chain.rules if all(_holds(m, packet) for m in r.matches)), None)


def _holds(match: Match, packet: Packet) -> bool:
    match match:
        case Device():
            name = packet.entry if match.way == "in" else packet.way_out
            return (name == match.name if match.whole else name.startswith(match.name)) != match.other
        case Address():
            address = packet.sender if match.side == "from" else packet.to
            return (IPv4Address(address) in IPv4Network(match.network)) != match.other
        case Version4():
            return (packet.version == 4) != match.other
        case Port():
            return (packet.protocol, packet.port) == (match.protocol, match.number)
        case Answer():
            return packet.answer
        case _:
            assert_never(match)


addresses = st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)))
ports = st.integers(1, 65_535)
outer = st.sampled_from(["eth0", "eth1", "wg0", "docker0"])
inner = st.integers(0, 65_000).map(lambda number: f"sqabcdef{number:x}")
senders = st.integers(0, room_in(NETWORK) - 1).map(lambda number: address_at(NETWORK, number))


def _is_denied(address: str) -> bool:
    denied = (*ALWAYS_DENIED, NETWORK, *RULES.denied)
    return any(IPv4Address(address) in IPv4Network(one) for one in denied)


@given(entry=inner, way_out=outer, sender=senders, to=addresses, port=ports)
def test_a_container_reaches_everything_but_what_is_denied(
    entry: str, way_out: str, sender: str, to: str, port: int
) -> None:
    packet = Packet(entry=entry, way_out=way_out, sender=sender, to=to, port=port)
    if to not in RULES.resolvers:
        assert fate(packet, "forward") == ("reject" if _is_denied(to) else "accept")


@given(entry=inner, way_out=outer, sender=senders, to=st.sampled_from(ALWAYS_DENIED), port=ports)
def test_no_address_of_what_is_always_denied_is_reached(
    entry: str, way_out: str, sender: str, to: str, port: int
) -> None:
    for address in (IPv4Network(to)[0], IPv4Network(to)[-1]):
        packet = Packet(entry=entry, way_out=way_out, sender=sender, to=str(address), port=port, protocol=17)
        assert fate(packet, "forward") == "reject"


@given(entry=inner, way_out=inner, to=addresses, answer=st.booleans(), version=st.sampled_from([4, 6]))
def test_no_container_reaches_another(entry: str, way_out: str, to: str, answer: bool, version: int) -> None:
    packet = Packet(entry=entry, way_out=way_out, to=to, answer=answer, version=version)
    assert fate(packet, "forward") not in PASSES


@given(entry=inner, to=addresses, port=ports, version=st.sampled_from([4, 6]))
def test_no_container_begins_to_speak_to_the_host(entry: str, to: str, port: int, version: int) -> None:
    packet = Packet(entry=entry, to=to, port=port, version=version)
    if to not in RULES.resolvers:
        assert fate(packet, "input") not in PASSES


@given(entry=outer, way_out=inner, sender=addresses, to=senders, port=ports)
def test_nobody_begins_to_speak_to_a_container(
    entry: str, way_out: str, sender: str, to: str, port: int
) -> None:
    packet = Packet(entry=entry, way_out=way_out, sender=sender, to=to, port=port)
    assert fate(packet, "forward") == "drop"
    assert fate(packet, "output") == "reject"


@given(entry=inner, way_out=outer, sender=addresses)
def test_no_container_takes_a_senders_address_that_is_not_of_containers(
    entry: str, way_out: str, sender: str
) -> None:
    packet = Packet(entry=entry, way_out=way_out, sender=sender)
    own = IPv4Address(sender) in IPv4Network(NETWORK)
    assert (fate(packet, "forward") == "accept") == own


@given(entry=inner, way_out=outer)
def test_nothing_goes_out_but_by_ipv4(entry: str, way_out: str) -> None:
    assert fate(Packet(entry=entry, way_out=way_out, version=6), "forward") == "drop"


@given(entry=inner, port=ports, protocol=st.sampled_from([6, 17]))
def test_of_a_resolver_that_is_denied_otherwise_only_names_are_asked(
    entry: str, port: int, protocol: int
) -> None:
    packet = Packet(entry=entry, way_out="eth0", to="169.254.169.253", port=port, protocol=protocol)
    assert (fate(packet, "forward") == "accept") == (port == 53)
    assert (fate(packet, "input") == "accept") == (port == 53)


@given(entry=outer, way_out=outer, sender=addresses, to=addresses)
def test_the_host_is_no_router_for_others_than_it_was_before(
    entry: str, way_out: str, sender: str, to: str
) -> None:
    packet = Packet(entry=entry, way_out=way_out, sender=sender, to=to)
    through = entry in RULES.opened and way_out in RULES.opened
    # What somebody else has put up decides on the rest: a verdict of ours would be none of our business.
    assert fate(packet, "forward") == ("drop" if through else None)
    assert fate(packet, "input") is None
    assert fate(packet, "output") is None


@given(entry=outer, way_out=inner, to=senders)
def test_an_answer_comes_back(entry: str, way_out: str, to: str) -> None:
    assert fate(Packet(entry=entry, way_out=way_out, to=to, answer=True), "forward") == "accept"


@given(way_out=outer, sender=senders, to=addresses)
def test_outside_a_container_has_the_hosts_address(way_out: str, sender: str, to: str) -> None:
    assert fate(Packet(way_out=way_out, sender=sender, to=to), "postrouting") == "masquerade"


networks = st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)).map(
    lambda pair: str(IPv4Network(pair, strict=False))
)
instances = st.text("0123456789abcdef", min_size=12, max_size=12)


@given(instance=instances, taken=st.lists(networks, max_size=8))
def test_the_chosen_network_is_private_and_overlaps_nothing_that_is_taken(
    instance: str, taken: list[str]
) -> None:
    chosen = choose_network(instance, taken)
    if chosen is None:
        assert taken
        return
    assert IPv4Network(chosen).is_private
    assert not any(IPv4Network(chosen).overlaps(IPv4Network(one)) for one in taken)
    assert choose_network(instance, taken) == chosen


def test_where_everything_is_taken_there_is_no_network() -> None:
    assert choose_network("0" * 12, ["10.0.0.0/8", "172.16.0.0/12"]) is None


@given(number=st.integers(0, room_in(NETWORK) - 1))
def test_a_number_and_its_address_are_one(number: int) -> None:
    address = address_at(NETWORK, number)
    assert number_of(NETWORK, address) == number
    assert IPv4Address(address) in IPv4Network(NETWORK)
    assert address not in {"10.88.0.0", "10.88.0.1", "10.88.255.255"}


@given(taken=st.sets(st.integers(0, 19)), last=st.integers(-1, 19))
def test_a_free_number_is_free_and_the_one_given_back_last_comes_last(taken: set[int], last: int) -> None:
    found = free_number(taken, last, 20)
    if found is None:
        assert len(taken) == 20
        return
    assert found not in taken
    between = [n % 20 for n in range(last + 1, last + 21)]
    assert all(n in taken for n in between[: between.index(found)])
