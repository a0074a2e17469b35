"""This Python: the interpreter that runs the client, and what its pip and uv are told, as the client sees both."""

from __future__ import annotations

import netrc
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from squall.images.installer import InstallerSettings
from squall.images.installer_files import InstallerFiles, constraint_paths, read_settings
from squall.model.errors import InvalidError
from squall.model.image import ClientPython

_PACKAGES = {"site-packages", "dist-packages"}


def this_python() -> ClientPython:
    """The interpreter that runs this. Raises InvalidError for one that does not know where it lies."""
    if not sys.executable:
        raise InvalidError(
            "this Python does not know its own executable (sys.executable is empty), so no container can run it",
            remedy="run the program with an installed Python, not with one embedded in another program",
        )
    stdlib = dict.fromkeys([sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")])
    return ClientPython(
        executable=_shortest(sys.executable),
        prefix=_shortest(sys.prefix),
        base_prefix=_shortest(sys.base_prefix),
        version=".".join(map(str, sys.version_info[:3])),
        soabi=sysconfig.get_config_var("SOABI") or "",
        platform=sysconfig.get_platform(),
        stdlib_dirs=tuple(_shortest(path) for path in stdlib if path and os.path.isdir(path)),
        site_dirs=_site_directories(),
        uv=shutil.which("uv"),
    )


def installer_settings(environ: Mapping[str, str] = os.environ) -> InstallerSettings:
    """What pip and uv are told here, by their configuration files and the environment; it holds secrets.

    Raises InvalidError for a file that they would not read either.
    """
    try:
        files = InstallerFiles(
            pip=tuple(_texts(_pip_paths(environ))),
            uv=tuple(_texts(_uv_paths(environ))),
            env=environ,
            netrc=_logins(environ),
        )
        named = constraint_paths(files)
        texts = {path: text for path in named for text in _texts([Path(os.path.expanduser(path))])}
        return read_settings(
            InstallerFiles(pip=files.pip, uv=files.uv, env=environ, netrc=files.netrc, texts=texts)
        )
    except ValueError as wrong:
        raise InvalidError(
            str(wrong), remedy="correct the file; `python -m pip config debug` shows which ones there are"
        ) from None


def _site_directories() -> tuple[str, ...]:
    """The directories of installed packages that are on the path, and no others: source ships by itself."""
    known = {*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])}
    found = [path for path in sys.path if path in known or os.path.basename(path) in _PACKAGES]
    return tuple(dict.fromkeys(_shortest(path) for path in found if os.path.isdir(path)))


def _pip_paths(environ: Mapping[str, str]) -> list[Path]:
    """The configuration files of pip, the weakest first, as pip orders them."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(environ.get("HOME") or "/nonexistent")
    shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        *(Path(directory) / "pip/pip.conf" for directory in reversed(shared) if directory),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        own / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
        *([Path(chosen)] if chosen else []),
    ]


def _uv_paths(environ: Mapping[str, str]) -> list[Path]:
    """The configuration files of uv, the weakest first; those of a project are for that project."""
    if environ.get("UV_NO_CONFIG"):
        return []
    if environ.get("UV_CONFIG_FILE"):
        return [Path(environ["UV_CONFIG_FILE"])]
    home = Path(environ.get("HOME") or "/nonexistent")
    own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [Path("/etc/uv/uv.toml"), own / "uv/uv.toml"]


def _texts(paths: Iterable[Path]) -> list[str]:
    """What the files say that are there and may be read."""
    found = []
    for path in paths:
        try:
            found.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def _logins(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """User and password by host, from ~/.netrc or what NETRC names."""
    path = environ.get("NETRC") or os.path.join(environ.get("HOME") or "/nonexistent", ".netrc")
    try:
        hosts = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return {}
    return {host: (user or "", password or "") for host, (user, _, password) in hosts.items()}


def _shortest(path: str) -> str:
    return os.path.abspath(path)
