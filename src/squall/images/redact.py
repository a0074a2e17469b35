"""Redact: take credentials out of what is kept, and their values out of what is printed. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from squall.model.errors import InvalidError

HIDDEN: Final = "****"

# From the first letter that can be of it, and never back: a line without any URL is gone through once.
_USERINFO = re.compile(
    r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z0-9+.-]++://)(?P<userinfo>[^/\s@\"'<>]+(?:@[^/\s@\"'<>]+)*)@"
)
_PLACEHOLDER = re.compile(r"\$\{([A-Z0-9_]+)\}")
_EVERYBODY: Final = "git"  # the user that everybody is to a server of repositories
_LONGEST_LINE: Final = 16_384
# Shorter ones stand in too much that is no secret, such as a version or a date.
_SHORTEST: Final = 4


@dataclass(slots=True)
class Hidden:
    """Credentials taken out of texts: each stands there as `${NAME}`, its value is kept here under that name.

    A name begins with `prefix` and comes from the place that the credential is for: a new password changes no text,
    and credentials of several images can travel together.
    """

    prefix: str
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def hide(self, text: str) -> str:
        """`text` with a placeholder for the user and password of every URL in it."""

        def put_away(match: re.Match[str]) -> str:
            userinfo = match["userinfo"]
            if userinfo == _EVERYBODY or _PLACEHOLDER.fullmatch(userinfo):
                return match[0]
            place = text[match.end() :].split(None, 1)
            return f"{match['scheme']}${{{self.name_of(userinfo, place[0] if place else '')}}}@"

        return _USERINFO.sub(put_away, text)

    def keep(self, name: str, value: str) -> None:
        """Puts a value away under a name that the user chose. Raises InvalidError where it has another one already."""
        if self.secrets.setdefault(name, value) != value:
            raise InvalidError(
                f"{name} is given two values, and what is built can be told one",
                remedy="give one of the two another name",
            )

    def name_of(self, value: str, place: str) -> str:
        """The placeholder's name for a credential of `place`."""
        name = f"{self.prefix}{hashlib.sha256(place.encode()).hexdigest()[:8].upper()}"
        while self.secrets.setdefault(name, value) != value:
            name += "_"
        return name


def reveal(text: str, secrets: Mapping[str, str]) -> str:
    """`text` with the values of `secrets` in place of their placeholders; unknown ones stay as they are."""
    return _PLACEHOLDER.sub(lambda match: secrets.get(match[1], match[0]), text)


def placeholders(text: str) -> tuple[str, ...]:
    """The names of the placeholders in `text`, each once."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def without_userinfo(text: str) -> str:
    """`text` with no user and no password in any URL."""
    return _USERINFO.sub(lambda match: match[0] if match["userinfo"] == _EVERYBODY else match["scheme"], text)


class Redactor:
    """Turns output into lines in which no secret stands: neither as it is, nor URL-encoded, nor in base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._values = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now; a longer line than 16 KiB is cut, though never inside a secret."""
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        longest = max(map(len, self._values), default=0) * 4  # characters, of up to four bytes each
        while len(self._rest) > _LONGEST_LINE + longest:
            for value in self._values:
                self._rest = self._rest.replace(value.encode(), HIDDEN.encode())
            if len(self._rest) > _LONGEST_LINE + longest:
                lines.append(self._rest[:_LONGEST_LINE])
                self._rest = self._rest[_LONGEST_LINE:]
        return [self.line(line.decode("utf-8", "replace")) for line in lines]

    def close(self) -> list[str]:
        """What came after the last line."""
        rest, self._rest = self._rest, b""
        return [self.line(rest.decode("utf-8", "replace"))] if rest else []

    def line(self, text: str) -> str:
        """`text` without a secret."""
        for value in self._values:
            text = text.replace(value, HIDDEN)
        return _USERINFO.sub(_hidden_userinfo, text)


def _hidden_userinfo(match: re.Match[str]) -> str:
    return match[0] if match["userinfo"] == _EVERYBODY else f"{match['scheme']}{HIDDEN}@"


def _forms(secret: str) -> set[str]:
    """The spellings in which tools print a secret; of `user:password` the password alone as well."""
    plain = {secret, unquote(secret)}
    plain |= {value.partition(":")[2] for value in plain}
    forms = set(plain)
    for value in plain:
        forms |= {quote(value, safe=""), base64.b64encode(value.encode()).decode().rstrip("=")}
        forms.add(base64.urlsafe_b64encode(value.encode()).decode().rstrip("="))
    return {form for form in forms if len(form) >= _SHORTEST}
