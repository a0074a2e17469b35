"""Addresses to listen at, written as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import ListenRefused
from squall.settings.listen import PORT, is_loopback, read_address, split_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("gpu-head", "gpu-head", PORT),
        (":81", "0.0.0.0", 81),
        ("82", "0.0.0.0", 82),
        ("[::1]:83", "::1", 83),
        ("[::]", "::", PORT),
        (" host:1 ", "host", 1),
    ],
)
def test_an_address_is_a_host_a_port_or_both(text: str, host: str, port: int) -> None:
    found = read_address(text)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize("text", ["::1:80", "host:port", "host:65536", "a b:1", "[::1", "[::1]80", "host:-1"])
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ListenRefused):
        read_address(text)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert 0 <= port <= 65535
    assert not any(map(str.isspace, host))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "gpu-head", "::"])
def test_without_tls_only_this_machine_is_listened_to(host: str) -> None:
    address = f"[{host}]:1" if ":" in host else f"{host}:1"
    with pytest.raises(ListenRefused, match="TLS"):
        read_address(address, plain=True)
    assert not is_loopback(host)
    assert read_address("127.0.0.1:1", plain=True).plain
