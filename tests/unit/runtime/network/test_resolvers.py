"""Which name servers containers ask."""

from __future__ import annotations

import pytest

from squall.runtime.network.resolvers import Resolvers, choose_resolvers, servers_in

STUB = "# a comment\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n"
BEHIND = "nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver 192.0.2.54\n"
SYSTEMD = "/run/systemd/resolve/resolv.conf"


def test_the_hosts_own_list_where_others_reach_its_servers() -> None:
    found = choose_resolvers({"/etc/resolv.conf": "nameserver 192.0.2.1\n", SYSTEMD: BEHIND})
    assert found == Resolvers(path="/etc/resolv.conf", servers=("192.0.2.1",))


def test_those_behind_a_resolver_that_only_the_host_reaches() -> None:
    found = choose_resolvers({"/etc/resolv.conf": STUB, SYSTEMD: BEHIND})
    assert found == Resolvers(path=SYSTEMD, servers=("192.0.2.53", "192.0.2.54"))


@pytest.mark.parametrize("texts", [{}, {"/etc/resolv.conf": STUB}, {"/etc/resolv.conf": ""}])
def test_none_where_there_is_none(texts: dict[str, str]) -> None:
    assert choose_resolvers(texts) == Resolvers()


@pytest.mark.parametrize(
    "line", ["nameserver", "nameserver somewhere", "nameserver 127.0.0.1", "nameserver ::1", "\0"]
)
def test_a_line_that_names_no_server_is_passed_over(line: str) -> None:
    assert servers_in(f"{line}\nnameserver 192.0.2.1 # the router\n") == ("192.0.2.1",)
