"""Tokens and scopes: what they say, what they allow, and what is never shown."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from squall.model.access import (
    SECRET_BYTES,
    Scope,
    Token,
    allows,
    digest_of,
    is_secret,
    make_token,
    read_token,
)
from squall.model.errors import InvalidError
from squall.model.ids import TOKEN, TokenId, make_id

ID = TokenId(make_id(TOKEN, now_ms=1, randomness=bytes(10)))
AUTHORITY = "ab" * 32


@given(st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES), st.sampled_from(["", AUTHORITY]))
def test_a_token_reads_as_it_was_written(randomness: bytes, authority: str) -> None:
    token = make_token(ID, randomness, authority)
    assert read_token(f" {token}\n") == token
    assert is_secret(token.secret, digest_of(token.secret))


@given(st.text(max_size=200))
def test_what_is_no_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        read_token(f"{ID}!{text}")
    assert text not in str(refused.value) or len(text) < 20


@pytest.mark.parametrize(
    "text",
    ["", "a.b.c", f"{ID}.short.{AUTHORITY}", f"{ID}.{'a' * 43}.{AUTHORITY[:-1]}", f"fc{ID[2:]}.{'a' * 43}"],
)
def test_half_a_token_is_none(text: str) -> None:
    with pytest.raises(InvalidError):
        read_token(text)


def test_a_token_that_is_shown_by_mistake_hides_its_secret() -> None:
    token = make_token(ID, bytes(SECRET_BYTES), AUTHORITY)
    assert token.secret not in repr(token)
    assert token.secret not in digest_of(token.secret)
    assert not is_secret(token.secret[::-1] + "x", digest_of(token.secret))
    assert str(Token(ID, token.secret)) == f"{ID}.{token.secret}"


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ((), set()),
        ((Scope.READ,), {Scope.READ}),
        ((Scope.CALL,), {Scope.CALL}),
        ((Scope.RUN,), {Scope.READ, Scope.CALL, Scope.RUN}),
        ((Scope.ADMIN,), set(Scope)),
        ((Scope.READ, Scope.CALL), {Scope.READ, Scope.CALL}),
    ],
)
def test_scopes_allow_what_stands_before_them(scopes: tuple[Scope, ...], allowed: set[Scope]) -> None:
    assert {scope for scope in Scope if allows(scopes, scope)} == allowed
