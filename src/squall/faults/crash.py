"""Crash point: a named place at which the process ends as if killed, when its environment asks for it."""

from __future__ import annotations

import os
import threading
from typing import Final

VARIABLE: Final = "SQUALL_FAULT"
EXIT_CODE: Final = 137  # what a shell shows for kill -9

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


def armed_by(setting: str) -> dict[str, int] | None:
    """How often each point named in "name[:n][,name[:n]]" is passed until it strikes; None when none is named.

    Raises ValueError for what is no such list.
    """
    asked: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in setting.split(","))):
        name, _, count = part.partition(":")
        if not name or (count and not count.isdecimal()) or count == "0":
            raise ValueError(f"{VARIABLE} reads name[:n], n from 1, not {part!r}")
        asked[name] = int(count or 1)
    return asked or None


def _hit(armed: dict[str, int], name: str) -> None:
    if name not in _declared:
        raise KeyError(f"the crash point {name!r} was never declared")
    if name not in armed:
        return
    with _lock:
        armed[name] -= 1
        if armed[name] == 0:
            os._exit(EXIT_CODE)


# Read once: the points lie on hot paths, and a process is armed from its start or never.
_armed = armed_by(os.environ.get(VARIABLE, ""))
