from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from squall.images.registry.reference import Reference, from_wire_form, parse_reference, wire_form
from squall.model.errors import InvalidError

D = "0123456789abcdef" * 4

label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
part = st.from_regex(r"[a-z0-9]+((\.|_|__|-{1,3})[a-z0-9]+){0,2}", fullmatch=True)
named_host = st.builds(".".join, st.lists(label, min_size=2, max_size=4)).filter(
    lambda host: not host.rpartition(".")[2].isdigit()
)
host = st.one_of(
    named_host,
    st.just("localhost"),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
port = st.one_of(st.just(""), st.integers(1, 65_535).map(lambda number: f":{number}"))
registry = st.builds(lambda a, b: a + b, host, port)
repository = st.lists(part, min_size=1, max_size=4).map("/".join)
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True).filter(str.isascii)
digest = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(registry=registry, repository=repository, tag=st.none() | tag, digest=st.none() | digest)
def test_every_part_comes_out_as_it_was_written(
    registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    text = f"{registry}/{repository}" + (f":{tag}" if tag else "") + (f"@sha256:{digest}" if digest else "")
    found = parse_reference(text)
    assert (found.registry, found.repository) == (registry, repository)
    assert found.digest == digest
    assert found.tag == (tag or (None if digest else "latest"))
    assert parse_reference(str(found)) == found


@given(st.text(max_size=80) | st.text("abA0.:/@-_[]%sh256", max_size=80))
def test_any_text_is_a_reference_or_an_error_that_shows_no_control_character(text: str) -> None:
    try:
        found = parse_reference(text)
    except InvalidError as error:
        said = str(error)
    else:
        assert parse_reference(str(found)) == found
        return
    assert said.isprintable()
    assert len(said) < 2_000


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12-slim", "docker.io/library/debian:12-slim"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/team/app:x", "docker.io/team/app:x"),
        ("ghcr.io/a/b:tag", "ghcr.io/a/b:tag"),
        ("GHCR.io/a/b", "ghcr.io/a/b:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("local/a", "docker.io/local/a:latest"),
        (f"host:5000/x@sha256:{D}", f"host:5000/x@sha256:{D}"),
        (f"host:05000/x:v1@sha256:{D}", f"host:5000/x:v1@sha256:{D}"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("[0:0::1]/x", "[::1]/x:latest"),
        ("a:b", "docker.io/library/a:b"),
        ("x.y/z", "x.y/z:latest"),
        ("a__b/c---d.e", "docker.io/a__b/c---d.e:latest"),
    ],
)
def test_names_are_filled_up(text: str, whole: str) -> None:
    assert str(parse_reference(text)) == whole


def test_the_default_registry_answers_elsewhere_and_is_asked_for_the_digest_first() -> None:
    found = parse_reference(f"debian:12@sha256:{D}")
    assert found.endpoint == "registry-1.docker.io"
    assert found.wanted == f"sha256:{D}"
    assert parse_reference("debian:12").wanted == "12"
    assert parse_reference("ghcr.io/a").endpoint == "ghcr.io"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("a" * 3_000, "3000 characters"),
        ("a b", "character ' '"),
        ("a\n", "character"),
        ("ä", "character"),
        ("https://ghcr.io/a", "no scheme"),
        ("docker://debian", "no scheme"),
        (D, "id of an image"),
        ("Debian", "capital letters in 'Debian'"),
        ("team/App", "capital letters in 'App'"),
        ("a//b", "part ''"),
        ("a/", "part ''"),
        ("/a", "part ''"),
        ("a..b", "part 'a..b'"),
        ("a___b", "part"),
        ("-a", "part"),
        (":tag", "name is missing"),
        ("ghcr.io/", "name is missing"),
        ("a:", "tag after the colon is missing"),
        ("a:-x", "tag is '-x'"),
        ("a:b:c", "tag is 'b:c'"),
        ("a:" + "x" * 129, "tag is"),
        ("a:b/c", "port is 'b'"),
        ("host:0/x", "port is '0'"),
        ("host:65536/x", "port is"),
        ("host:/x", "port is ''"),
        ("host:5000:1/x", "port is"),
        (":5000/x", "host before the port is missing"),
        ("-a.b/x", "part '-a'"),
        ("a..b/x", "part ''"),
        ("a_b.c/x", "part 'a_b'"),
        ("x" * 64 + ".a/x", "part"),
        ("1.2.3.999/x", "no IPv4 address"),
        ("[::1/x", "not closed"),
        ("[::g]/x", "no IPv6 address"),
        ("[fe80::1%eth0]/x", "zone"),
        ("[::1]5000/x", "after its bracket"),
        ("a@", "digest is ''"),
        ("a@sha256:" + "0" * 63, "digest is"),
        ("a@sha256:" + "A" * 64, "digest is"),
        ("a@sha512:" + "0" * 128, "only sha256"),
        (f"a@sha256:{D}@sha256:{D}", "digest is"),
        ("a/" * 100 + "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "repository has 256"),
    ],
)
def test_what_is_wrong_is_said_of_its_part(text: str, why: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(why)):
        parse_reference(text)


def test_a_digest_has_another_form_on_the_wire() -> None:
    found = from_wire_form(f"sha256:{D}")
    assert found == D
    assert wire_form(found) == f"sha256:{D}"
    assert [from_wire_form(text) for text in (D, "sha256:", f"sha512:{D}", f"SHA256:{D}", "")] == [None] * 5


def test_a_reference_is_a_value() -> None:
    assert parse_reference("debian") == Reference(
        registry="docker.io", repository="library/debian", tag="latest", digest=None
    )
