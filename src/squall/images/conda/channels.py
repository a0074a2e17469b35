"""Channels: the addresses of what users call a channel by name, and of those the part that is secret. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from squall.images.redact import HIDDEN, Hidden, placeholders, reveal, without_userinfo
from squall.model.errors import InvalidError

ALIAS: Final = "https://conda.anaconda.org"
"""Where channels lie that have only a name, unless the machine says another place."""

ALIAS_VARIABLE: Final = "CONDA_CHANNEL_ALIAS"
DEFAULT: Final = "conda-forge"
"""The channel of packages for which none is named."""

# What conda calls "defaults", by the names that they have at the alias; nothing is ever added to the channels that are named.
_MEANING: Final[Mapping[str, tuple[str, ...]]] = {"defaults": ("main", "r"), "nodefaults": ()}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_SCHEME = re.compile(r"https?://[^\s/]")
_TOKEN = re.compile(r"(?<=/t/)(?P<token>[^/\s#?]+)(?=/)")


@dataclass(frozen=True, slots=True)
class Place:
    """An address without what is secret in it, and a login for its host: none is an empty mapping."""

    address: str
    host: str
    login: Mapping[str, object]


def addresses(channels: Iterable[str], alias: str = ALIAS) -> tuple[str, ...]:
    """The addresses of channels, each once: of a name, what it has below `alias`. Raises InvalidError."""
    named = [one for channel in channels for one in _MEANING.get(channel, (channel,))]
    return tuple(dict.fromkeys(_address(one, alias) for one in named))


def checked_alias(alias: str) -> str:
    """The address below which channels with a name lie. Raises InvalidError for none."""
    if not _SCHEME.match(alias.strip()):
        raise InvalidError(
            f"{ALIAS_VARIABLE} is {without_credentials(alias)!r}, which is no address of channels",
            remedy=f"set it to an address such as {ALIAS}, or unset it",
        )
    return alias.strip().rstrip("/")


def split_channel(spec: str) -> tuple[str, str]:
    """The channel that a match spec names ("channel::package"), or "", and the spec without it."""
    channel, parted, rest = spec.rpartition("::")
    return (channel.strip(), rest.strip()) if parted else ("", spec.strip())


def hide(address: str, hidden: Hidden) -> str:
    """`address` with a placeholder for the user and password, and for the token, in it."""

    def put_away(match: re.Match[str]) -> str:
        if placeholders(match["token"]):
            return match["token"]
        return f"${{{hidden.name_of(match['token'], address[: match.start()])}}}"

    return _TOKEN.sub(put_away, hidden.hide(address))


def without_credentials(address: str) -> str:
    """`address` with no user, no password and no token in it."""
    return _TOKEN.sub(HIDDEN, without_userinfo(address))


def place_of(address: str, secrets: Mapping[str, str]) -> Place:
    """Where an address leads, once the values of `secrets` stand for their placeholders."""
    whole = reveal(address, secrets)
    parts = urlsplit(whole)
    userinfo, _, netloc = parts.netloc.rpartition("@")
    token = _TOKEN.search(parts.path)
    path = parts.path
    login: dict[str, object] = {}
    if token is not None:
        login = {"CondaToken": token["token"]}
        path = path.replace(f"/t/{token['token']}", "", 1)
    if userinfo:
        user, _, password = userinfo.partition(":")
        login = {"BasicHTTP": {"username": unquote(user), "password": unquote(password)}}
    plain = parts._replace(netloc=netloc, path=path).geturl()
    return Place(plain, parts.hostname or "", login)


def logins(places: Iterable[Place]) -> str:
    """The file of logins that the installer reads: one for each host. Raises ValueError for a host that is given two."""
    found: dict[str, Mapping[str, object]] = {}
    for place in places:
        if place.login and found.setdefault(place.host, place.login) != place.login:
            raise ValueError(
                f"{place.host} is given two logins, and conda packages can come with one of a host"
            )
    return json.dumps(found)


def _address(channel: str, alias: str) -> str:
    shown = without_credentials(channel)
    if _SCHEME.match(channel):
        return channel.rstrip("/")
    if channel.startswith(("/", ".", "~", "file:")):
        raise InvalidError(
            f"the channel {shown!r} is a place on this machine, which a build does not see",
            remedy="serve it (`python -m http.server`), and name its address",
        )
    if not _NAME.fullmatch(channel):
        raise InvalidError(
            f"{shown!r} is no channel",
            remedy='name one, such as "conda-forge", or its address: "https://HOST/channel"',
        )
    return f"{alias}/{channel}"
