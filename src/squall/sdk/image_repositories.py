"""Image repositories: where private ones lie, and whose token is for which server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from squall.images.registry.location import is_loopback
from squall.model.errors import InvalidError
from squall.model.image_steps import GitLogin, GitToken
from squall.sdk.image_declared import flat_words

_METHOD: Final = "Image.pip_install_private_repos"
_WRITTEN: Final = re.compile(
    r"(?P<server>(?P<host>[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*)(?::\d{1,5})?)"
    r"(?P<path>(?:/[A-Za-z0-9_~][A-Za-z0-9_.~-]*){2,})(?:@(?P<ref>[A-Za-z0-9_][^\s@#:?\\^~*\[]*))?(?P<rest>#[\w.=&/-]+)?"
)
# Where everybody calls it so: a token of one is never told to the other.
_USUAL: Final = {"github.com": "GITHUB_TOKEN", "gitlab.com": "GITLAB_TOKEN"}


def private_packages(
    repositories: Iterable[str | Iterable[str]], user: Any, variables: tuple[str, ...]
) -> tuple[tuple[str, ...], GitLogin]:
    """The packages that these repositories are, and as whom they are fetched. variables: the names of what the secrets hold.

    Raises InvalidError that names what is wrong.
    """
    words = flat_words(_METHOD, repositories)
    if not words:
        raise InvalidError(f"{_METHOD} names no repository", remedy='name one: "github.com/owner/name@v1.0"')
    packages: list[str] = []
    tokens: dict[GitToken, None] = {}
    for word in words:
        found = _WRITTEN.fullmatch(word)
        if found is None or ".." in word:
            raise InvalidError(
                f"{_METHOD}: {_shown(word)!r} is no repository",
                remedy='write server, owner and name, and a branch, tag or commit: "github.com/owner/name@v1.0"',
            )
        # As with registries: only a server on this machine is asked without TLS.
        server = f"{'http' if is_loopback(found['host']) else 'https'}://{found['server']}"
        tokens[GitToken(server=server, variable=_token_of(found["host"], variables))] = None
        ref = f"@{found['ref']}" if found["ref"] else ""
        packages.append(f"git+{server}{found['path']}{ref}{found['rest'] or ''}")
    try:
        return tuple(packages), GitLogin(user=user, tokens=tuple(tokens))
    except (ValueError, AttributeError, TypeError):
        raise InvalidError(
            f"{_METHOD}: git_user is the name that its server knows you by, not {user!r}",
            remedy='write git_user="name"',
        ) from None


def _token_of(host: str, variables: tuple[str, ...]) -> str:
    usual = _USUAL.get(host)
    if usual in variables:
        return str(usual)
    others = [name for name in variables if name not in _USUAL.values() or name == usual]
    if len(others) == 1:
        return others[0]
    which = " or ".join(variables) or "nothing, without a secret"
    raise InvalidError(
        f"{_METHOD}: which variable is the token for {host} is not clear from {which}",
        remedy=f'give it one: `secrets=[Secret.from_local_environ(["{usual or "MY_TOKEN"}"])]`',
    )


def _shown(word: str) -> str:
    """Without what may be a password."""
    return re.sub(r"//[^/]*@", "//****@", word)
