"""Credentials: where a login for a registry comes from. None of them is ever in a message, a repr or an argument."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from squall.images.registry.docker_config import (
    MOST_BYTES,
    Credentials,
    Helper,
    IdentityToken,
    Login,
    helper_answer,
    helper_in,
    login_in,
    parse_config,
)
from squall.model.errors import FeatureUnavailable, InvalidError
from squall.runtime.asked import Answer, Ask, TooMuchSaidError, ask

__all__ = ["Credentials", "IdentityToken", "Keychain", "Login", "config_files"]

_HELPER_S: Final = 30.0
_MOST_SAID: Final = 1 << 16
_NOT_FOUND: Final = b"credentials not found"  # how every helper says that it has none


class Keychain:
    """The logins of one user. given: by registry, which go before all others; environ: where files and programs are found.

    helper_s: seconds that a program which keeps logins may take.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        given: Mapping[str, Credentials] | None = None,
        *,
        helper_s: float = _HELPER_S,
    ) -> None:
        self._environ = environ
        self._given = dict(given or {})
        self._helper_s = helper_s

    def __repr__(self) -> str:
        return f"Keychain(given for {sorted(self._given)})"

    async def find(self, registry: str, repository: str) -> Credentials | None:
        """The login for a repository: given, or from the first file that has one, or None.

        Raises InvalidError for a file or a program that makes no sense, FeatureUnavailable for a program that is missing.
        """
        if registry in self._given:
            return self._given[registry]
        for path in config_files(self._environ):
            data = _read(path)
            if data is None:
                continue
            try:
                config = parse_config(data)
                helper = helper_in(config, registry)
                found = await self._ask(helper, path) if helper is not None else None
                found = found or login_in(config, registry, repository)
            except ValueError as error:
                raise _unusable(path, str(error)) from None
            if found is not None:
                return found
        return None

    async def _ask(self, helper: Helper, path: Path) -> Credentials | None:
        name = f"docker-credential-{helper.name}"
        program = shutil.which(name, path=self._environ.get("PATH", os.defpath))
        if program is None:
            raise FeatureUnavailable(
                f"{path} says that {name} keeps the login, and there is no such program on PATH",
                remedy=f"install {name}, or take `credsStore` and `credHelpers` out of the file and log in again",
                feature=name,
            )
        answer = await self._run(program, name, helper.server)
        if answer.status != 0:
            if _NOT_FOUND in answer.said.lower():
                return None
            raise _unusable_helper(name, f"it ended with status {answer.status}")
        try:
            return helper_answer(answer.said)
        except ValueError as error:
            raise _unusable_helper(name, f"what it wrote cannot be read: {error}") from None

    async def _run(self, program: str, name: str, server: str) -> Answer:
        how = Ask(
            within_s=self._helper_s, most_bytes=_MOST_SAID, told=server.encode(), env=dict(self._environ)
        )
        try:
            return await ask((program, "get"), how)
        except TimeoutError:
            raise _unusable_helper(name, f"it did not end within {self._helper_s:g} s") from None
        except TooMuchSaidError:
            raise _unusable_helper(name, f"it wrote more than {_MOST_SAID} bytes") from None
        except OSError as error:
            raise _unusable_helper(name, f"it cannot be started ({error.strerror})") from None


def config_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where logins may stand, best first. $REGISTRY_AUTH_FILE stands for all others."""
    if environ.get("REGISTRY_AUTH_FILE"):
        return (Path(environ["REGISTRY_AUTH_FILE"]),)
    home = environ.get("HOME")
    directories = (
        (environ.get("XDG_RUNTIME_DIR"), "containers/auth.json"),
        (environ.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"), "containers/auth.json"),
        (environ.get("DOCKER_CONFIG") or (home and f"{home}/.docker"), "config.json"),
    )
    return tuple(Path(directory) / name for directory, name in directories if directory)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror})") from None
    if len(data) > MOST_BYTES:
        raise _unusable(path, f"it has more than {MOST_BYTES} bytes")
    return data


def _unusable(path: Path, why: str) -> InvalidError:
    return InvalidError(
        f"the logins in {path} cannot be used: {why}",
        remedy="correct the file, or remove it and log in again: `docker login HOST`",
    )


def _unusable_helper(name: str, why: str) -> InvalidError:
    return InvalidError(
        f"{name}, which keeps the login, cannot be used: {why}",
        remedy=f"see what `{name} list` says, or log in again: `docker login HOST`",
    )
