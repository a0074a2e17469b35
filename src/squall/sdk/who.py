"""Who: the user and the machine that something is asked from, for people."""

from __future__ import annotations

import getpass
import os
import platform


def who_asks() -> str:
    """The user and the machine, for people."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user is known here
        user = str(os.getuid())
    return f"{user}@{platform.node()}"
