"""Installer files: reads pip's and uv's configuration, as texts and variables, into installer settings. Pure."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

from squall.images.installer import DECIDING, InstallerSettings
from squall.images.redact import Hidden

SECRET_PREFIX: Final = "SQUALL_CREDENTIAL_C"  # noqa: S105 - the name of a placeholder

_PIP_CARRIED: Final = frozenset(
    {
        *(
            "index-url",
            "extra-index-url",
            "find-links",
            "no-index",
            "trusted-host",
            "no-binary",
            "only-binary",
            "pre",
        ),
        *("constraint", "cert", "client-cert", "proxy", "timeout", "default-timeout"),
    }
)
# They change how pip talks or where it caches, not what it installs.
_PIP_NEEDLESS: Final = frozenset(
    {
        *(
            "disable-pip-version-check",
            "no-cache-dir",
            "cache-dir",
            "quiet",
            "verbose",
            "no-color",
            "progress-bar",
        ),
        *(
            "no-input",
            "user",
            "require-virtualenv",
            "break-system-packages",
            "root-user-action",
            "keyring-provider",
        ),
        *(
            "no-warn-script-location",
            "prefer-binary",
            "retries",
            "config-file",
            "log",
            "exists-action",
            "format",
        ),
        *(
            "target",
            "prefix",
            "root",
            "upgrade",
            "upgrade-strategy",
            "use-feature",
            "use-deprecated",
            "no-compile",
        ),
    }
)
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_UV_CARRIED: Final = frozenset(
    {
        *DECIDING,
        *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT"),
        *("UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_BUILDS", "UV_CONCURRENT_INSTALLS", "UV_HTTP_RETRIES"),
    }
)
# uv.toml's keys and the variables that say the same.
_UV_KEYS: Final = {
    "index-strategy": "UV_INDEX_STRATEGY",
    "prerelease": "UV_PRERELEASE",
    "exclude-newer": "UV_EXCLUDE_NEWER",
    "resolution": "UV_RESOLUTION",
    "torch-backend": "UV_TORCH_BACKEND",
    "offline": "UV_OFFLINE",
    "no-binary": "UV_NO_BINARY",
    "no-build": "UV_NO_BUILD",
    "no-binary-package": "UV_NO_BINARY_PACKAGE",
    "no-build-package": "UV_NO_BUILD_PACKAGE",
    "native-tls": "UV_NATIVE_TLS",
    "system-certs": "UV_SYSTEM_CERTS",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallerFiles:
    """What the client's machine says about packages.

    pip, uv: texts of the configuration files, the weakest first. env: the environment. netrc: host to login and
    password. texts: what a constraints file that one of them names says, by its path.
    """

    pip: tuple[str, ...] = ()
    uv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    netrc: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def read_settings(files: InstallerFiles) -> InstallerSettings:
    """The settings that `files` say: for each one, uv's own before pip's, variables before files.

    Raises ValueError for a file that pip or uv would not read either.
    """
    pip = _pip_options(files)
    uv = _uv_options(files)
    hidden = Hidden(SECRET_PREFIX)

    def places(urls: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(hidden.hide(_with_login(url, files.netrc)) for url in urls))

    index = uv.index_url or pip.get("index-url")
    proxies, proxy = _proxies(files.env), pip.get("proxy")
    if proxy:
        proxies |= {"http_proxy": proxy, "https_proxy": proxy}
    timeout = pip.get("timeout") or pip.get("default-timeout")
    constraint_files = _words(pip.get("constraint"))
    known = _PIP_CARRIED | _PIP_NEEDLESS
    return InstallerSettings(
        index_url=places([index])[0] if index else None,
        extra_index_url=places([*uv.extra, *_words(pip.get("extra-index-url"))]),
        find_links=places([*uv.find_links, *_words(pip.get("find-links"))]),
        no_index=uv.no_index or _truth(pip.get("no-index")),
        trusted_host=tuple(dict.fromkeys((*uv.insecure, *_words(pip.get("trusted-host"))))),
        no_binary=_names(pip.get("no-binary")),
        only_binary=_names(pip.get("only-binary")),
        pre=_truth(pip.get("pre")),
        constraints="".join(
            hidden.hide(files.texts[path]) for path in constraint_files if path in files.texts
        ),
        cert=pip.get("cert")
        or next((files.env[name] for name in _CA_VARIABLES if files.env.get(name)), None),
        client_cert=pip.get("client-cert") or files.env.get("SSL_CLIENT_CERT"),
        proxies={name: hidden.hide(value) for name, value in proxies.items()},
        timeout_s=_seconds(timeout),
        uv_env=uv.env,
        ignored=tuple(sorted(f"pip: {name}" for name in pip if name not in known)),
        secrets=hidden.secrets,
    )


def constraint_paths(files: InstallerFiles) -> tuple[str, ...]:
    """The constraints files that the configuration names, whose texts `read_settings` wants."""
    return tuple(_words(_pip_options(files).get("constraint")))


def _pip_options(files: InstallerFiles) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in files.pip:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text)
        except configparser.Error as problem:
            raise ValueError(f"pip's configuration cannot be read: {problem.message}") from problem
        for section in ("global", "install"):
            if parser.has_section(section):
                options |= {_pip_name(key): value for key, value in parser.items(section)}
    for name, value in files.env.items():
        if name.startswith("PIP_") and value:
            options[_pip_name(name[4:])] = value
    return options


def _pip_name(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


@dataclass(slots=True)
class _Uv:
    """What uv is told."""

    index_url: str | None = None
    extra: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    no_index: bool = False
    insecure: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)


def _uv_options(files: InstallerFiles) -> _Uv:
    uv = _Uv()
    for text in files.uv:
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as problem:
            raise ValueError(f"uv's configuration cannot be read: {problem}") from problem
        for part in (table, table.get("pip", {})):
            _read_uv_table(uv, part, files.env)
    env = files.env
    indexes = [_named(word, env) for word in _words(env.get("UV_INDEX"))]
    default = env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL")
    uv.index_url = _named(default, env) if default else uv.index_url
    uv.extra = [*indexes, *_words(env.get("UV_EXTRA_INDEX_URL")), *uv.extra]
    uv.find_links = [*_names(env.get("UV_FIND_LINKS")), *uv.find_links]
    uv.no_index = uv.no_index or _truth(env.get("UV_NO_INDEX"))
    uv.env |= {name: value for name, value in env.items() if name in _UV_CARRIED and value}
    return uv


def _read_uv_table(uv: _Uv, table: Mapping[str, Any], env: Mapping[str, str]) -> None:
    """Take over one table of uv.toml; what a stronger file says about an index stands before what is there."""
    for index in table.get("index", []):
        if not isinstance(index, dict) or "url" not in index or index.get("explicit"):
            continue  # an explicit index serves only the packages that a project pins to it
        url = _named(f"{index['name']}={index['url']}" if "name" in index else str(index["url"]), env)
        if index.get("default"):
            uv.index_url = url
        else:
            uv.extra.insert(0, url)
    uv.index_url = table.get("index-url", uv.index_url)
    uv.extra = [*_strings(table.get("extra-index-url")), *uv.extra]
    uv.find_links = [*_strings(table.get("find-links")), *uv.find_links]
    uv.no_index = bool(table.get("no-index", uv.no_index))
    uv.insecure = [*_strings(table.get("allow-insecure-host")), *uv.insecure]
    for key, name in _UV_KEYS.items():
        if key in table:
            uv.env[name] = _as_variable(table[key])


def _named(text: str, env: Mapping[str, str]) -> str:
    """The URL of an index that may have a name (`name=url`), with the login that variables hold for that name."""
    match = re.match(r"([A-Za-z0-9._-]+)=(.+)", text)
    if match is None:
        return text
    name = re.sub(r"[^A-Z0-9]", "_", match[1].upper())
    user, password = env.get(f"UV_INDEX_{name}_USERNAME", ""), env.get(f"UV_INDEX_{name}_PASSWORD", "")
    return _with_userinfo(match[2], user, password) if user or password else match[2]


def _with_login(url: str, netrc: Mapping[str, tuple[str, str]]) -> str:
    host = urlsplit(url).hostname
    if host is None or "@" in urlsplit(url).netloc or host not in netrc:
        return url
    return _with_userinfo(url, *netrc[host])


def _with_userinfo(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{userinfo}@{parts.netloc.rpartition('@')[2]}").geturl()


def _proxies(env: Mapping[str, str]) -> dict[str, str]:
    """The proxy variables, by their lower-case names; where both spellings are set, tools read the lower one."""
    found = {name: env.get(name) or env.get(name.upper()) for name in _PROXIES}
    return {name: value for name, value in found.items() if value}


def _words(text: str | None) -> list[str]:
    return (text or "").split()


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in re.split(r"[,\n]", text or "") if name.strip())


def _truth(text: str | None) -> bool:
    return (text or "").strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or []]


def _as_variable(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
