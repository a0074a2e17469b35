"""Directories that are no project: home, temporary and system ones, and those of installed packages."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import tempfile
from functools import cache
from typing import Final

_SYSTEM: Final = (
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/media", "/mnt", "/opt", "/proc", "/run", "/sbin", "/srv",
    "/sys", "/usr", "/usr/bin", "/usr/local", "/usr/local/bin", "/usr/sbin", "/var", "/Users", "/Volumes",
)  # fmt: skip
_TEMPORARY: Final = ("/tmp", "/var/tmp", "/dev/shm", "/private/tmp")  # noqa: S108 - these names are what is looked for
_BELOW_HOME: Final = ("Desktop", "Documents", "Downloads")


def why_shared(directory: str) -> str | None:
    """What a directory is, in words, where it holds much that belongs to no app; None for one that ships whole."""
    real = os.path.realpath(directory)
    home = os.path.realpath(os.path.expanduser("~"))
    if real == os.sep or real in _SYSTEM:
        return "a directory of the system"
    if real in {os.path.realpath(path) for path in (tempfile.gettempdir(), *_TEMPORARY)}:
        return "a directory for temporary files"
    if real == home:
        return "your home directory"
    if real in {os.path.join(home, name) for name in _BELOW_HOME}:
        return "a directory of all kinds of files"
    if os.path.join(home, "").startswith(os.path.join(real, "")):
        return "a directory above your home directory"
    if any(_inside(real, path) for path in package_directories()):
        return "a directory of installed packages"
    return None


def package_directories() -> tuple[str, ...]:
    """Where packages are installed for this interpreter, and its own library, as real paths."""
    return _package_directories(tuple(sys.path))


@cache
def _package_directories(on_path: tuple[str, ...]) -> tuple[str, ...]:
    found = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [*getattr(site, "getsitepackages", list)(), site.getusersitepackages()]
    found += [path for path in on_path if path.rstrip("/").endswith(("site-packages", "dist-packages"))]
    return tuple(dict.fromkeys(os.path.realpath(path) for path in found if path))


def _inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(os.path.join(directory, ""))
