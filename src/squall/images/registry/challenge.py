"""Challenge: how a registry asks who is there, and the token that its token server gives. Pure."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

_MOST_HEADERS: Final = 8
_LONGEST_HEADER: Final = 4_096
_LONGEST_TOKEN: Final = 65_536
_SHORTEST_LIFE_S: Final = 60.0  # what the protocol gives a token that says nothing of its life
_LONGEST_LIFE_S: Final = 86_400.0

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_GAP = re.compile(r"[\s,]*")
_SCHEME = re.compile(rf"({_WORD})(?:\s+|(?=,)|\Z)")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*(?=,|\Z)')
_TOKEN_LETTERS = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Ask the server at `realm` (an address) for a token; service and scope are passed on to it as they are."""

    realm: str
    service: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Basic:
    """Send user and password."""

    realm: str = ""


Challenge = Bearer | Basic


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What opens a registry for `life_s` seconds from now."""

    value: str = field(repr=False)
    life_s: float


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges in these WWW-Authenticate headers that are understood, in their order.

    Other schemes, a Bearer without a realm and what is malformed are passed over: nothing raises.
    """
    found: list[Challenge] = []
    for header in itertools.islice(headers, _MOST_HEADERS):
        text = header[:_LONGEST_HEADER]
        at = 0
        while at < len(text):
            gap = _GAP.match(text, at)
            at = gap.end() if gap is not None else at
            scheme = _SCHEME.match(text, at)
            if scheme is None:
                # Another scheme's own form of answer: what is understood may come after it.
                at = text.find(",", at) + 1 or len(text)
                continue
            at = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(text, at):
                at = parameter.end()
                name, quoted, plain = parameter.groups()
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
                parameters.setdefault(name.lower(), value)
            challenge = _challenge(scheme[1].lower(), parameters)
            if challenge is not None:
                found.append(challenge)
    return tuple(found)


def parse_token(body: bytes) -> Token:
    """The token in a token server's answer. Raises ValueError, which says what is wrong and repeats nothing of it."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(answer, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - what came is wrong, not its type in our code
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str):
        raise ValueError("it has neither token nor access_token")  # noqa: TRY004 - the same
    if len(value) > _LONGEST_TOKEN:
        raise ValueError(f"its token has {len(value)} characters")
    if not _TOKEN_LETTERS.fullmatch(value):
        raise ValueError("its token has characters that no header may have")
    return Token(value=value, life_s=_life_s(answer.get("expires_in")))


def _challenge(scheme: str, parameters: dict[str, str]) -> Challenge | None:
    if scheme == "bearer" and parameters.get("realm"):
        return Bearer(
            realm=parameters["realm"], service=parameters.get("service"), scope=parameters.get("scope")
        )
    if scheme == "basic":
        return Basic(parameters.get("realm", ""))
    return None


def _life_s(said: Any) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not said > 0:
        return _SHORTEST_LIFE_S
    return float(min(said, _LONGEST_LIFE_S))
