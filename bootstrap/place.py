"""Where the private environment of a clone is, and whether it is ready.

Runs before every command, so it imports only what the interpreter has loaded anyway.
"""

import os
import stat
import sys
import zlib
from collections.abc import Iterator, Mapping

STAMP = "squall-stamp"
_FORMAT = 4  # raise it when an environment made by an older script must be made again


def homes(root: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Folders that may hold environments, the best first: beside the clone, in the state directory, temporary."""
    if environ.get("SQUALL_ENV_DIR"):
        yield environ["SQUALL_ENV_DIR"]
        return
    yield os.path.join(root, ".squall-env")
    if environ.get("SQUALL_STATE_DIR"):
        yield os.path.join(environ["SQUALL_STATE_DIR"], "env")
    if environ.get("XDG_STATE_HOME"):
        yield os.path.join(environ["XDG_STATE_HOME"], "squall", "env")
    home = os.path.expanduser("~")
    if home not in {"~", "/"}:
        yield os.path.join(home, ".local", "state", "squall", "env")
    temporary = environ.get("TMPDIR") or environ.get("TEMP") or "/tmp"  # noqa: S108 - checked for its owner below
    yield os.path.join(temporary, f"squall-{user()}", "env")


def name(root: str) -> str:
    """The folder name of the environment of this clone and this interpreter."""
    mark = zlib.crc32(f"{os.path.realpath(root)}\0{base_python()}".encode())
    return f"py{sys.version_info[0]}.{sys.version_info[1]}-{mark:08x}"


def find(root: str, extras: frozenset[str]) -> str | None:
    """The folder of an environment that has squall and these extras, where one is ready."""
    wanted = identity(root)
    for home in homes(root, os.environ):
        path = os.path.join(home, name(root))
        if holds(path, wanted, extras) and is_ours(home):
            return path
    return None


def identity(root: str) -> str:
    """What an environment was made for: this pyproject.toml, this interpreter, this clone."""
    with open(os.path.join(root, "pyproject.toml"), "rb") as file:
        content = file.read()
    return f"{_FORMAT} {len(content)} {zlib.crc32(content):08x} {sys.version!r} {root}"


def holds(path: str, wanted: str, extras: frozenset[str]) -> bool:
    """Whether the environment in the folder was made for `wanted` and has these extras."""
    made_for, has = stamp(path)
    return made_for == wanted and extras <= has and os.path.exists(python(path))


def stamp(path: str) -> tuple[str, frozenset[str]]:
    """What the environment in the folder was made for, and its extras; empty where there is none."""
    try:
        with open(os.path.join(path, STAMP), encoding="utf-8") as file:
            made_for, _, has = file.read().partition("\n")
    except (OSError, ValueError):
        return "", frozenset()
    return made_for, frozenset(has.split())


def is_ours(path: str) -> bool:
    """Whether nobody but this user (or root) could have written what lies in the folder."""
    if os.name != "posix":
        return os.path.isdir(path)
    try:
        seen = os.stat(path)
    except OSError:
        return False
    others_write = seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid in {0, user()} and not others_write


def python(path: str) -> str:
    """The interpreter of the environment in the folder."""
    return (
        os.path.join(path, "Scripts", "python.exe")
        if os.name == "nt"
        else os.path.join(path, "bin", "python")
    )


def script(path: str) -> str:
    """The `squall` command of the environment, to be run by its interpreter."""
    return os.path.join(os.path.dirname(python(path)), "squall")


def base_python() -> str:
    """The interpreter that runs this, behind any environment it may have been started from."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def user() -> int:
    """The number of the user who runs this."""
    return os.getuid() if hasattr(os, "getuid") else 0
