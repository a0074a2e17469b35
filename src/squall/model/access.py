"""Access: tokens, what they allow, and how they are written down."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from squall.model.errors import InvalidError
from squall.model.ids import TOKEN, TokenId, is_id

SECRET_BYTES: Final = 32
SERVER_NAME: Final = "server.squall.internal"
"""The name in every server's certificate: clients verify it, whatever address they dial."""
_FINGERPRINT_LETTERS: Final = 64
_HEX: Final = frozenset("0123456789abcdef")


class Scope(StrEnum):
    """What a token allows. Each of run and admin allows all that stands before it."""

    READ = "read"
    CALL = "call"
    RUN = "run"
    ADMIN = "admin"


class TokenKind(StrEnum):
    """Whether a token lets a client in, as often as it likes, or one machine, once."""

    ACCESS = "access"
    JOIN = "join"


_IMPLIED: Final = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.CALL: frozenset({Scope.CALL}),
    Scope.RUN: frozenset({Scope.READ, Scope.CALL, Scope.RUN}),
    Scope.ADMIN: frozenset(Scope),
}


def allows(scopes: Iterable[Scope], needed: Scope) -> bool:
    """Whether somebody with these scopes may do what needs that one."""
    return any(needed in _IMPLIED[scope] for scope in scopes)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its holder has it. authority: fingerprint of the server's authority, hexadecimal; "" where it is not said.

    Written `ID.SECRET.AUTHORITY` or `ID.SECRET`.
    """

    id: TokenId
    secret: str = field(repr=False)
    authority: str = ""

    def __str__(self) -> str:
        parts = (self.id, self.secret, self.authority) if self.authority else (self.id, self.secret)
        return ".".join(parts)


def make_token(id_: TokenId, randomness: bytes, authority: str) -> Token:
    """A new token. randomness: SECRET_BYTES of them, nobody else's."""
    if len(randomness) != SECRET_BYTES:
        raise ValueError(f"a token has {SECRET_BYTES} random bytes, not {len(randomness)}")
    return Token(id_, base64.urlsafe_b64encode(randomness).decode().rstrip("="), authority)


def read_token(text: str) -> Token:
    """The token that `text` is. Raises InvalidError, which does not repeat it."""
    id_, _, rest = text.strip().partition(".")
    secret, _, authority = rest.partition(".")
    whole = is_id(id_, TOKEN) and len(secret) == 43 and secret.replace("-", "a").replace("_", "a").isalnum()
    if authority and not (len(authority) == _FINGERPRINT_LETTERS and _HEX.issuperset(authority)):
        whole = False
    if not whole or not secret.isascii():
        raise InvalidError(
            "this is no token of Squall",
            remedy="give the whole of what `squall token new` printed: to-… up to its last letter",
        )
    return Token(TokenId(id_), secret, authority)


def digest_of(secret: str) -> str:
    """What is kept of a token's secret: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret(secret: str, digest: str) -> bool:
    """Whether this is the secret of that digest, found in a time that tells nothing."""
    return hmac.compare_digest(digest_of(secret), digest)
