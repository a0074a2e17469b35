"""The small decisions of a client: places, heads, proxies, pauses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, strategies as st

from squall.images.registry.head import (
    Chunked,
    Head,
    Sized,
    UntilClosed,
    body_of,
    media_type,
    next_page,
    range_start,
    read_head,
    retry_after_s,
    write_head,
)
from squall.images.registry.location import (
    Location,
    Reach,
    is_loopback,
    parse_location,
    reach_of,
    why_not_led,
    widest,
    within,
)
from squall.images.registry.patience import Pace, Patience
from squall.images.registry.proxy import proxy_for
from squall.images.registry.reference import parse_reference
from squall.images.registry.settings import RegistrySettings
from squall.model.errors import InvalidError


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC),
        ("2606:4700::1", Reach.PUBLIC),
        ("10.0.0.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("172.31.255.255", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("224.0.0.1", Reach.PRIVATE),
        ("255.255.255.255", Reach.PRIVATE),
        ("127.0.0.1", Reach.MACHINE),
        ("127.9.9.9", Reach.MACHINE),
        ("0.0.0.0", Reach.MACHINE),
        ("::", Reach.MACHINE),
        ("::1", Reach.MACHINE),
        ("169.254.169.254", Reach.MACHINE),
        ("fe80::1", Reach.MACHINE),
        ("::ffff:127.0.0.1", Reach.MACHINE),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("64:ff9b::7f00:1", Reach.MACHINE),
        ("64:ff9b::a00:1", Reach.PRIVATE),
        ("2002:7f00:1::", Reach.MACHINE),
        ("2002:a00:1::", Reach.PRIVATE),
    ],
)
def test_who_can_reach_an_address(address: str, reach: Reach) -> None:
    assert reach_of(ipaddress.ip_address(address)) is reach


@given(st.lists(st.ip_addresses(), max_size=5), st.sampled_from(Reach))
def test_a_registry_leads_only_to_where_as_many_can_reach(
    addresses: list[ipaddress.IPv4Address], reach: Reach
) -> None:
    allowed = within(addresses, reach)
    assert all(reach_of(address) <= reach for address in allowed)
    assert within(addresses, Reach.MACHINE) == tuple(addresses)
    assert not addresses or within(addresses, widest(addresses))


def test_one_public_address_makes_a_registry_public() -> None:
    addresses = [ipaddress.ip_address(text) for text in ("127.0.0.1", "8.8.8.8", "10.0.0.1")]
    assert widest(addresses) is Reach.PUBLIC
    assert widest(addresses[::2]) is Reach.PRIVATE
    assert widest([]) is Reach.PUBLIC  # a name that only a proxy knows


def test_a_location_is_read_from_where_it_stands() -> None:
    base = parse_location("https://Registry.example/v2/a?x=1")
    assert base == Location(scheme="https", host="registry.example", port=443, target="/v2/a?x=1")
    assert parse_location("/b", base).target == "/b"
    assert parse_location("//other:444/b#part", base).authority == "other:444"
    assert parse_location("http://[::1]:5000").authority == "[::1]:5000"
    assert str(parse_location("https://a.b/secret?signature=s")) == "https://a.b"


@given(st.text(max_size=60), st.booleans())
def test_any_text_is_a_location_or_said_to_be_none(text: str, relative: bool) -> None:
    base = parse_location("https://registry.example/v2/") if relative else None
    try:
        found = parse_location(text, base)
    except ValueError as error:
        said = str(error)
    else:
        assert found.host
        write_head("GET", found.target, [("Host", found.authority)])
        return
    assert said.isprintable()


def test_plain_http_is_for_this_machine_and_for_a_registry_that_is_spoken_to_so() -> None:
    tls, plain = parse_location("https://r.example"), parse_location("http://r.example:5000")
    assert why_not_led(parse_location("https://s.example"), registry=tls) is None
    assert why_not_led(parse_location("http://127.0.0.1:1"), registry=tls) is None
    assert why_not_led(parse_location("http://r.example:5000/x"), registry=plain) is None
    for place in ("http://r.example", "http://s.example", "http://10.0.0.1", "http://127.0.0.1.example"):
        assert why_not_led(parse_location(place), registry=tls)
        assert why_not_led(parse_location(place), registry=plain)


def test_what_means_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("localhost.example", "10.0.0.1", "127.0.0.1.example", "0.0.0.0", "")))


def test_which_registry_is_spoken_to_in_plain_http() -> None:
    settings = RegistrySettings(
        insecure=frozenset({"lan.example:5000"}), encrypted=frozenset({"localhost:5001"})
    )
    for name, base in (
        ("debian", "https://registry-1.docker.io"),
        ("ghcr.io/a", "https://ghcr.io"),
        ("lan.example:5000/a", "http://lan.example:5000"),
        ("lan.example/a", "https://lan.example"),
        ("localhost:5000/a", "http://localhost:5000"),
        ("127.0.0.1:5000/a", "http://127.0.0.1:5000"),
        ("[::1]:5000/a", "http://[::1]:5000"),
        ("localhost:5001/a", "https://localhost:5001"),
        ("10.0.0.1:5000/a", "https://10.0.0.1:5000"),
    ):
        assert str(settings.base_of(parse_reference(name))) == base


headers = st.lists(
    st.tuples(
        st.from_regex(r"[A-Za-z-]{1,10}", fullmatch=True),
        st.from_regex(r"[!-~]{0,5}", fullmatch=True),
    ),
    max_size=5,
)


@given(headers)
def test_a_head_is_read_as_it_was_written(said: list[tuple[str, str]]) -> None:
    written = write_head("GET", "/x", said).partition(b"\r\n")[2]
    assert read_head(b"HTTP/1.1 200 OK\r\n" + written).headers == tuple(
        (name.lower(), value) for name, value in said
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_said_to_be_none(data: bytes) -> None:
    for whole in (data, b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n"):
        said = "it is one"
        try:
            read_head(whole)
        except ValueError as error:
            said = str(error)
        assert said.startswith("it")


@pytest.mark.parametrize("bad", ["a\r\nX: y", "a\nb", "\0", "ä€"])
def test_no_header_and_no_target_gets_a_line_in(bad: str) -> None:
    with pytest.raises(ValueError, match="header"):
        write_head("GET", "/", [("A", bad)])
    with pytest.raises(ValueError, match="target"):
        write_head("GET", f"/{bad}", [])
    with pytest.raises(ValueError, match="header"):
        write_head("GET", "/", [(bad, "a")])


def test_what_body_follows() -> None:
    assert body_of("GET", Head(200, (("content-length", "5"),))) == Sized(5)
    assert body_of("GET", Head(200, (("content-length", "5"), ("content-length", "5")))) == Sized(5)
    assert body_of("HEAD", Head(200, (("content-length", "5"),))) == Sized(0)
    assert body_of("GET", Head(204, ())) == Sized(0)
    assert body_of("GET", Head(200, (("transfer-encoding", "Chunked"),))) == Chunked()
    assert body_of("GET", Head(200, ())) == UntilClosed()


def test_small_headers_are_read() -> None:
    def head(name: str, value: str) -> Head:
        return Head(200, ((name, value),))

    assert range_start(head("content-range", "bytes 5-9/10")) == 5
    assert range_start(head("content-range", "bytes */10")) is None
    assert media_type(head("content-type", "Text/JSON; charset=x")) == "text/json"
    assert media_type(Head(200, ())) == ""
    assert next_page(head("link", '</a?n=1>; rel="next"')) == "/a?n=1"
    assert next_page(head("link", '</a>; rel="prev"')) is None
    assert retry_after_s(head("retry-after", "7"), 0.0) == 7
    assert retry_after_s(head("retry-after", "Thu, 01 Jan 1970 00:01:40 GMT"), 90.0) == 10
    assert retry_after_s(head("retry-after", "Thu, 01 Jan 1970 00:01:40 GMT"), 200.0) == 0
    for odd in ("", "-1", "soon", "1e9", "Thu, 99 Jan 1970"):
        assert retry_after_s(head("retry-after", odd), 0.0) is None


@pytest.mark.parametrize(
    ("environ", "place", "port"),
    [
        ({}, "https://r.example", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://r.example", 1),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://p:2"}, "https://r.example", 2),
        ({"HTTPS_PROXY": "http://p:1"}, "http://r.example", None),
        ({"HTTP_PROXY": "p:1"}, "http://r.example", 1),
        ({"ALL_PROXY": "http://p"}, "https://r.example", 80),
        ({"ALL_PROXY": "http://p:1"}, "https://127.0.0.1", None),
        ({"ALL_PROXY": "http://p:1"}, "https://localhost:5000", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://r.example", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a, example"}, "https://r.example", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": ".example"}, "https://r.example", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*.example"}, "https://r.example", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "ample"}, "https://r.example", 1),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "r.example:443"}, "https://r.example", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "r.example:80"}, "https://r.example", 1),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://11.1.2.3", 1),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, "https://[fd00::1]", None),
    ],
)
def test_which_proxy_the_environment_wants(environ: dict[str, str], place: str, port: int | None) -> None:
    proxy = proxy_for(parse_location(place), environ)
    assert (proxy.port if proxy is not None else None) == port


@pytest.mark.parametrize(
    "text", ["socks5://canary@p:1", "https://u:canary@p", "http://", "http://p:canary", "http://["]
)
def test_a_proxy_that_cannot_be_used_is_named_and_not_quoted(text: str) -> None:
    with pytest.raises(InvalidError, match="HTTPS_PROXY") as caught:
        proxy_for(parse_location("https://r.example"), {"HTTPS_PROXY": text})
    assert "canary" not in str(caught.value)


@given(tried=st.integers(1, 1_000), drawn=st.floats(0, 1), asked_s=st.none() | st.floats(0, 100))
def test_a_pause_is_bounded_and_never_shorter_than_what_was_asked_for(
    tried: int, drawn: float, asked_s: float | None
) -> None:
    patience = Patience()
    pause_s = patience.pause_s(tried, asked_s=asked_s, drawn=drawn)
    if asked_s is None:
        assert patience.first_pause_s / 2 <= pause_s <= patience.longest_pause_s
        assert pause_s <= patience.pause_s(tried + 1, asked_s=None, drawn=1.0)
    else:
        assert asked_s <= pause_s <= asked_s + patience.first_pause_s


def test_only_a_slow_body_is_too_slow_and_waiting_is_all_that_counts() -> None:
    patience = Patience(slowest=100, window_s=10.0)
    fast, slow = Pace(patience), Pace(patience)
    assert all(fast.took(1.0, 100) for _ in range(100))
    assert [slow.took(1.0, 99) for _ in range(10)] == [True] * 9 + [False]
    assert all(Pace(patience).took(0.0, 1) for _ in range(1_000))


def test_settings_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RegistrySettings(at_once=0)
    with pytest.raises(ValueError, match="at least 1"):
        RegistrySettings(chunk_bytes=0)
    with pytest.raises(ValueError, match="at least 1"):
        RegistrySettings(patience=Patience(tries=0))
