from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, strategies as st

from squall.images.registry.challenge import Basic, Bearer, parse_challenges, parse_token

REALM = "https://auth.example/token?a=b,c"

value = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@given(
    realm=value.filter(bool), service=value, scope=value, order=st.permutations(range(3)), quirk=st.booleans()
)
def test_each_parameter_is_found_in_any_order(
    realm: str, service: str, scope: str, order: list[int], quirk: bool
) -> None:
    said = [("realm", realm), ("service", service), ("scope", scope)]
    quoted = [(name, text.replace("\\", "\\\\").replace('"', '\\"')) for name, text in said]
    written = [
        f'{quoted[n][0].upper() if quirk else quoted[n][0]}{" = " if quirk else "="}"{quoted[n][1]}"'
        for n in order
    ]
    header = ("bearer " if quirk else "Bearer ") + (" , " if quirk else ",").join(written)
    assert parse_challenges([header]) == (Bearer(realm=realm, service=service, scope=scope),)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([f'Bearer realm="{REALM}"'], [Bearer(realm=REALM)]),
        (["Bearer realm=x,service=y"], [Bearer(realm="x", service="y")]),
        (["Basic"], [Basic()]),
        (['Basic realm="a \\"b\\""'], [Basic('a "b"')]),
        (
            [f'Basic realm="a", Bearer realm="{REALM}",scope="s"'],
            [Basic("a"), Bearer(realm=REALM, scope="s")],
        ),
        (["Basic realm=a", "Bearer realm=b"], [Basic("a"), Bearer(realm="b")]),
        (["Negotiate", "Basic realm=a"], [Basic("a")]),
        (["Negotiate YWJj==, Basic realm=a"], [Basic("a")]),
        (['Digest realm="x", nonce="y", Basic realm=a'], [Basic("a")]),
        (["Bearer realm=a, realm=b"], [Bearer(realm="a")]),
        (["Bearer service=a"], []),
        (['Bearer realm=""'], []),
        (['Bearer realm="open'], []),
        (["", ",,,", "="], []),
    ],
)
def test_challenges_are_read(headers: list[str], found: list[object]) -> None:
    assert list(parse_challenges(headers)) == found


@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_header_is_read_without_an_error(headers: list[str]) -> None:
    parse_challenges(headers)


@pytest.mark.parametrize("unit", ['a="', "a=,", 'Bearer a="x', "a ", ",", 'a="\\', " "])
def test_a_long_header_takes_no_long_time(unit: str) -> None:
    began = time.process_time()
    parse_challenges([unit * 50_000] * 100)
    assert time.process_time() - began < 2


LIVES: list[tuple[dict[str, object], float]] = [
    ({}, 60),
    ({"expires_in": 300}, 300),
    ({"expires_in": 10**9}, 86_400),
    ({"expires_in": 0}, 60),
    ({"expires_in": -5}, 60),
    ({"expires_in": "300"}, 60),
    ({"expires_in": None}, 60),
    ({"expires_in": True}, 60),
    ({"expires_in": []}, 60),
    ({"expires_in": float("nan")}, 60),
    ({"expires_in": float("inf")}, 86_400),
    ({"expires_in": 10**400}, 86_400),
]


@pytest.mark.parametrize(("said", "life_s"), LIVES)
def test_a_token_has_a_life(said: dict[str, object], life_s: float) -> None:
    token = parse_token(json.dumps({"token": "t", **said}).encode())
    assert (token.value, token.life_s) == ("t", life_s)


def test_a_token_has_two_names_and_no_repr() -> None:
    assert parse_token(b'{"access_token": "canary"}').value == "canary"
    assert parse_token(b'{"access_token": "b", "token": "a"}').value == "a"
    assert "canary" not in repr(parse_token(b'{"access_token": "canary"}'))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"canary",
        b"[]",
        b"{}",
        b'{"token": 5}',
        b'{"token": "a\\ncanary"}',
        b"\xff",
        b"[" * 100_000,
        json.dumps({"token": "canary" * 20_000}).encode(),
    ],
)
def test_what_is_no_token_is_said_without_it(body: bytes) -> None:
    with pytest.raises(ValueError, match="it") as caught:
        parse_token(body)
    assert "canary" not in str(caught.value)
