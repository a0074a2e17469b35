"""Crash point: a named place at which the process ends as if killed, when its environment asks for it."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Final

VARIABLE: Final = "SQUALL_FAULT"
NOTES_VARIABLE: Final = "SQUALL_FAULT_NOTES"
COUNT: Final = "count"
EXIT_CODE: Final = 137  # what a shell shows for kill -9

_PASSED: Final = "passed."
_STRUCK: Final = "struck."
_ROLES: Final = {
    "squall.server": "server",
    "squall.agent": "agent",
    "squall.supervisor": "supervisor",
    "squall.runtime.launcher": "launcher",
}
_CLIENT: Final = "client"
_declared: dict[str, str] = {}
_lock = threading.Lock()


def declare(name: str, what: str) -> str:
    """Adds a crash point to the list, and gives its name back; `what` says what has, and has not, happened there.

    Names go "part.step" and are unique. Raises ValueError for a name that is taken or that the environment
    could not carry.
    """
    if not name or any(sign in name for sign in ":, ="):
        raise ValueError(f"a crash point's name has no ':', ',', '=' or blank: {name!r}")
    if _declared.get(name, what) != what:
        raise ValueError(f"two crash points are called {name!r}")
    _declared[name] = what
    return name


def names() -> dict[str, str]:
    """Every crash point of the modules imported so far, and what it stands for."""
    return dict(sorted(_declared.items()))


def point(name: str) -> None:
    """Ends the process here, at once and without any clean-up, if the environment asked for this point.

    Costs one look at a global where nothing is asked. Raises KeyError for a point that was never declared, but
    only where some point is asked for: that is in tests.
    """
    if _armed is None:
        return
    _hit(_armed, name)


def armed_by(setting: str, role: str = "") -> dict[str, int] | None:
    """How often each point named in "[role/]name[:n][,...]" is passed until it strikes in a process of this role.

    Roles are server, agent, supervisor, launcher and client, which any other is; a point without one strikes in any process. None when nothing is named;
    "count" alone names no point, and has those that are passed counted in the notes. Raises ValueError for what is no such list.
    """
    if setting.strip() == COUNT:
        return {}
    asked: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in setting.split(","))):
        whose, slash, rest = part.rpartition("/")
        name, _, count = rest.partition(":")
        known = not slash or whose in {*_ROLES.values(), _CLIENT}
        if not name or not known or (count and not count.isdecimal()) or count == "0":
            raise ValueError(f"{VARIABLE} reads [role/]name[:n], n from 1, not {part!r}")
        if whose in {"", role}:
            asked[name] = int(count or 1)
    return asked if asked or setting.strip(", ") else None


def environment() -> dict[str, str]:
    """What a process that starts another one with a clean environment hands on, so that it is armed too."""
    return {name: os.environ[name] for name in (VARIABLE, NOTES_VARIABLE) if name in os.environ}


def struck(notes: str) -> dict[str, float]:
    """The points that struck, as "role/name", and when (monotonic), by the notes in a directory."""
    found = {}
    for name in os.listdir(notes):
        if name.startswith(_STRUCK):
            role, _, what = name.removeprefix(_STRUCK).partition(".")
            with open(f"{notes}/{name}", encoding="ascii") as file:
                found[f"{role}/{what}"] = float(file.read() or "0")
    return found


def passed(notes: str) -> dict[str, int]:
    """How often each point, as "role/name", was passed by processes that were asked to count."""
    names = [name for name in os.listdir(notes) if name.startswith(_PASSED)]
    return {
        name.removeprefix(_PASSED).replace(".", "/", 1): os.stat(f"{notes}/{name}").st_size for name in names
    }


def _hit(armed: dict[str, int], name: str) -> None:
    if name not in _declared:
        raise KeyError(f"the crash point {name!r} was never declared")
    if _counting:
        _append(f"{_notes}/{_PASSED}{_role}.{name}", b".")
    if name not in armed:
        return
    with _lock:
        armed[name] -= 1
        if armed[name] == 0 and _may_strike(name):
            os._exit(EXIT_CODE)


def _may_strike(name: str) -> bool:
    """Whether it is the first time: the process that is started in the place of one that died is armed as that was."""
    if not _notes:
        return True
    try:
        fd = os.open(f"{_notes}/{_STRUCK}{_role}.{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    os.write(fd, str(time.monotonic()).encode())
    os.close(fd)
    return True


def _append(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, data)
    os.close(fd)


# Read once: the points lie on hot paths, and a process is armed from its start or never.
_role = _ROLES.get(sys.argv[0] if sys.argv else "", _CLIENT)
_notes = os.environ.get(NOTES_VARIABLE, "")
_counting = bool(_notes) and os.environ.get(VARIABLE, "").strip() == COUNT
_armed = armed_by(os.environ.get(VARIABLE, ""), _role)
