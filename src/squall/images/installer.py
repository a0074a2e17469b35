"""Installer settings: what the client's pip and uv are told about indexes, certificates and proxies, made portable. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from squall.images.redact import reveal
from squall.model.image_steps import PipInstall
from squall.model.jsonable import from_json, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallerSettings:
    """The client's settings for packages, as both pip and uv understand them.

    URLs hold `${NAME}` in place of credentials; secrets has the values by name: it travels with a build and is never
    kept. cert, client_cert: paths of the client's machine. proxies, uv_env: environment variables. constraints: the
    text of constraints files. timeout_s: seconds, None for the tool's own. ignored: settings that cannot be carried.
    """

    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    trusted_host: tuple[str, ...] = ()
    no_binary: tuple[str, ...] = ()
    only_binary: tuple[str, ...] = ()
    pre: bool = False
    constraints: str = ""
    cert: str | None = None
    client_cert: str | None = None
    proxies: dict[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    uv_env: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The plain form, secrets included: it is for a message, never for a store or a log."""
        return cast("dict[str, Any]", to_json(self))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> InstallerSettings:
        """The settings that `plain` says. Raises ValueError where it says none."""
        return from_json(cls, dict(plain))

    @property
    def sources(self) -> str:
        """The digest of what decides which packages are found; credentials, proxies and time limits do not."""
        deciding = (
            *(self.index_url, self.extra_index_url, self.find_links, self.no_index),
            *(self.no_binary, self.only_binary, self.pre, self.constraints),
            {name: value for name, value in self.uv_env.items() if name in DECIDING},
        )
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


# Of uv's variables those that decide which files an install ends with.
DECIDING: Final = frozenset(
    {
        *(
            "UV_INDEX_STRATEGY",
            "UV_PRERELEASE",
            "UV_EXCLUDE_NEWER",
            "UV_RESOLUTION",
            "UV_TORCH_BACKEND",
            "UV_OFFLINE",
        ),
        *("UV_NO_BINARY", "UV_NO_BUILD", "UV_NO_BINARY_PACKAGE", "UV_NO_BUILD_PACKAGE", "UV_FORK_STRATEGY"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where one step looks for packages: its own wishes first, then the client's settings. URLs hold placeholders."""

    index_url: str | None
    extra_index_url: tuple[str, ...]
    find_links: tuple[str, ...]
    no_index: bool

    @property
    def local_paths(self) -> tuple[str, ...]:
        """The files and directories of this machine among them."""
        urls = (*([self.index_url] if self.index_url else []), *self.extra_index_url, *self.find_links)
        found = [path for path in map(local_path, urls) if path is not None]
        return tuple(dict.fromkeys(found))


def sources_of(step: PipInstall, settings: InstallerSettings) -> Sources:
    """Where `step` looks for packages: as with pip's options, its index stands for the client's, the rest adds up."""
    return Sources(
        index_url=settings.index_url if step.index_url is None else step.index_url,
        extra_index_url=tuple(dict.fromkeys((*step.extra_index_url, *settings.extra_index_url))),
        find_links=tuple(dict.fromkeys((*step.find_links, *settings.find_links))),
        no_index=settings.no_index,
    )


def local_path(url: str) -> str | None:
    """The path that a place of packages is on this machine, or None for one elsewhere."""
    if url.startswith("/"):
        return url.rstrip("/") or "/"
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return unquote(parts.path).rstrip("/") or "/"
    return None


def uv_environment(step: PipInstall, settings: InstallerSettings) -> dict[str, str]:
    """The variables that tell uv where packages are; they hold credentials, and so never go into a log or a key."""
    found = sources_of(step, settings)
    told: dict[str, str | None] = {
        "UV_INDEX_URL": found.index_url,
        "UV_EXTRA_INDEX_URL": " ".join(found.extra_index_url),
        "UV_FIND_LINKS": ",".join(found.find_links),
        "UV_INSECURE_HOST": " ".join(settings.trusted_host),
        "UV_HTTP_TIMEOUT": f"{settings.timeout_s:.0f}" if settings.timeout_s else None,
        "SSL_CERT_FILE": settings.cert,
        "SSL_CLIENT_CERT": settings.client_cert,
        "UV_PRERELEASE": "allow" if step.pre or settings.pre else None,
        # Users of pip expect the best version of all indexes; uv's rule is the first index that has the package.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if step.dialect == "pip" else None,
        "UV_KEYRING_PROVIDER": "disabled",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        # A slow machine under load: uv gives up on one file after a minute.
        "UV_COMPILE_BYTECODE_TIMEOUT": "600",
    }
    return _revealed({**told, **settings.uv_env, **settings.proxies}, settings)


def pip_environment(step: PipInstall, settings: InstallerSettings) -> dict[str, str]:
    """The variables that tell pip where packages are; they hold credentials, and so never go into a log or a key."""
    found = sources_of(step, settings)
    told: dict[str, str | None] = {
        # Nothing else is read: the settings have come with the build.
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": found.index_url,
        "PIP_EXTRA_INDEX_URL": " ".join(found.extra_index_url),
        "PIP_FIND_LINKS": " ".join(found.find_links),
        "PIP_NO_INDEX": "1" if found.no_index else None,
        "PIP_TRUSTED_HOST": " ".join(settings.trusted_host),
        "PIP_NO_BINARY": ",".join(settings.no_binary),
        "PIP_ONLY_BINARY": ",".join(settings.only_binary),
        "PIP_PRE": "1" if step.pre or settings.pre else None,
        "PIP_CERT": settings.cert,
        "PIP_CLIENT_CERT": settings.client_cert,
        "PIP_DEFAULT_TIMEOUT": f"{settings.timeout_s:.0f}" if settings.timeout_s else None,
        "PIP_KEYRING_PROVIDER": "disabled",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_NO_WARN_SCRIPT_LOCATION": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
    }
    return _revealed({**told, **settings.proxies}, settings)


def _revealed(told: Mapping[str, str | None], settings: InstallerSettings) -> dict[str, str]:
    return {name: reveal(value, settings.secrets) for name, value in told.items() if value}
