"""Docker config: the logins in a file of Docker's or of the containers tools, and the programs it names for them. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from squall.images.registry.reference import DEFAULT_REGISTRY

MOST_BYTES: Final = 1 << 20
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEFAULT_KEY: Final = "https://index.docker.io/v1/"  # how every program spells the default registry there
_DEFAULT_HOSTS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_IDENTITY: Final = "<token>"  # the user that a helper names for an identity token


@dataclass(frozen=True, slots=True)
class Login:
    """A user and their password."""

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.user or ":" in self.user or any(letter < " " for letter in self.user + self.password):
            raise ValueError("a user without a colon, and neither user nor password with a control character")


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """What a token server gave once, and for which it gives tokens."""

    token: str = field(repr=False)


Credentials = Login | IdentityToken


@dataclass(frozen=True, slots=True)
class Helper:
    """The program that keeps the login: `docker-credential-NAME get`, told `server` on its standard input."""

    name: str
    server: str


def parse_config(data: bytes) -> Mapping[str, Any]:
    """The file's object. Raises ValueError, which repeats nothing of it: what is wrong may be a password."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(config, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - what is in the file is wrong, not a type of ours
    return config


def helper_in(config: Mapping[str, Any], registry: str) -> Helper | None:
    """The program that the file names for this registry. Raises ValueError for a name that no program has."""
    helpers = config.get("credHelpers")
    name = None
    if isinstance(helpers, dict):
        name = next((helpers[key] for key in helpers if _host(key) == registry), None)
    name = name or config.get("credsStore")
    if not name:
        return None
    if not isinstance(name, str) or not _PROGRAM.fullmatch(name):
        raise ValueError("it names a credential helper in a way that no program is named")
    return Helper(name, _DEFAULT_KEY if registry == DEFAULT_REGISTRY else registry)


def login_in(config: Mapping[str, Any], registry: str, repository: str) -> Credentials | None:
    """The login that stands in the file itself: that of the longest path that leads to the repository.

    Raises ValueError for an entry that makes no sense.
    """
    entries = config.get("auths")
    if not isinstance(entries, dict):
        return None
    for wanted in _paths(registry, repository):
        for key, entry in entries.items():
            if _path(key) == wanted and isinstance(entry, dict):
                found = _credentials(entry)
                if found is not None:
                    return found
    return None


def helper_answer(data: bytes) -> Credentials:
    """What a helper wrote. Raises ValueError, which repeats nothing of it."""
    answer = parse_config(data)
    user, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        raise ValueError("it has no Username and Secret")
    return IdentityToken(secret) if user == _IDENTITY else Login(user, secret)


def _paths(registry: str, repository: str) -> Iterator[str]:
    """The repository, and what it lies in, up to the registry."""
    parts = [registry, *repository.split("/")]
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])


def _path(key: str) -> str:
    """An entry's key as host and path: older programs wrote addresses with the protocol's version in them."""
    path = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, rest = path.partition("/")
    host = _named(host)
    return f"{host}/{rest}" if rest and rest not in {"v1", "v2"} else host


def _host(key: str) -> str:
    return _path(key).partition("/")[0]


def _named(host: str) -> str:
    return DEFAULT_REGISTRY if host.lower() in _DEFAULT_HOSTS else host.lower()


def _credentials(entry: Mapping[str, Any]) -> Credentials | None:
    identity = entry.get("identitytoken")
    if isinstance(identity, str) and identity:
        return IdentityToken(identity)
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except ValueError:
            raise ValueError("it has an `auth` that is not user:password in base64") from None
        if not colon:
            raise ValueError("it has an `auth` that is not user:password in base64")
        # Some programs fill up with zero bytes.
        return Login(user, password.rstrip("\0"))
    name, secret = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(secret, str) and name:
        return Login(name, secret)
    return None
