"""Tools: finds uv on this machine, has it fetched once where there is none, and finds pip for that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from squall.images.command import Tool
from squall.images.installer import InstallerSettings
from squall.model.image import ClientPython
from squall.runtime.asked import Ask, TooMuchSaidError, ask

_ELF = b"\x7fELF"
_VERSION_TIMEOUT_S = 20.0
# Where distributions keep the certificate authorities that their administrator trusts, in one file.
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine
)


@dataclass(frozen=True, slots=True)
class UvPlace:
    """A file that may be uv."""

    path: str
    origin: str


def uv_places(python: ClientPython, tools: Path, environ: Mapping[str, str]) -> tuple[UvPlace, ...]:
    """Where uv may lie, best first: the client's PATH and environment, the usual places of a home, our own tools."""
    home = environ.get("HOME", "/nonexistent")
    fetched = sorted(tools.glob("uv-*/bin/uv"), reverse=True)
    candidates = [
        (python.uv, "on PATH"),
        (os.path.join(python.prefix, "bin", "uv"), "in the client's environment"),
        (shutil.which("uv", path=environ.get("PATH", os.defpath)), "on PATH"),
        (os.path.join(home, ".local/bin/uv"), "in the home directory"),
        (os.path.join(home, ".cargo/bin/uv"), "in the home directory"),
        *((str(path), "fetched by Squall") for path in fetched if ".part-" not in str(path)),
    ]
    places: dict[str, UvPlace] = {}
    for path, origin in candidates:
        # A shim of a version manager is a script that needs what a sandbox does not show.
        if path and _is_program(path):
            places.setdefault(os.path.realpath(path), UvPlace(os.path.realpath(path), origin))
    return tuple(places.values())


async def find_uv(places: tuple[UvPlace, ...], version: str | None) -> Tool | None:
    """The first uv that works and has this version, or None. version: None for any."""
    for place in places:
        found = await _uv_version(place.path)
        if found is not None and version in {None, found}:
            return Tool(kind="uv", argv=(place.path,), origin=place.origin, version=found, uv=place.path)
    return None


def with_authorities(
    settings: InstallerSettings, *, there: Callable[[str], bool] = os.path.isfile
) -> InstallerSettings:
    """`settings`, trusting whom this machine trusts where they do not say whom: pip does so by itself, uv does not."""
    if settings.cert:
        return settings
    return replace(settings, cert=authorities(there=there))


def authorities(*, there: Callable[[str], bool] = os.path.isfile) -> str | None:
    """The file of all certificate authorities that this machine trusts, where there is one."""
    return next(filter(there, _AUTHORITIES), None)


def find_pip(python: ClientPython) -> Tool | None:
    """A pip that runs under the client's Python: installed there, or the one that Python brings for new environments."""
    for directory in (
        *python.site_dirs,
        *(os.path.join(path, "site-packages") for path in python.stdlib_dirs),
    ):
        if os.path.isfile(os.path.join(directory, "pip", "__main__.py")):
            zipped = os.path.join(directory, "pip")
            return Tool(kind="pip", argv=(python.executable, zipped), origin="the client's own")
    wheels = [
        wheel for path in python.stdlib_dirs for wheel in Path(path).glob("ensurepip/_bundled/pip-*.whl")
    ]
    if any(path.startswith("/usr/lib/") for path in python.stdlib_dirs):
        # Debian keeps what it has taken out of its Python's ensurepip there.
        wheels += sorted(Path("/usr/share/python-wheels").glob("pip-*.whl"))
    if wheels:
        return Tool(kind="pip", argv=(python.executable, f"{wheels[0]}/pip"), origin="bundled with Python")
    return None


def _is_program(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4) == _ELF and os.access(path, os.X_OK)
    except OSError:
        return False


async def _uv_version(path: str) -> str | None:
    """What `uv --version` says, or None for a program that is not a uv that works here."""
    try:
        answer = await ask((path, "--version"), Ask(within_s=_VERSION_TIMEOUT_S, env={"PATH": os.defpath}))
    except (OSError, TimeoutError, TooMuchSaidError):
        return None
    words = answer.said.decode("utf-8", "replace").split()
    return words[1] if answer.status == 0 and len(words) > 1 and words[0] == "uv" else None
