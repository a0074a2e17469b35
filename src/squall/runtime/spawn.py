"""Spawns a launcher: a process of its own session that whoever started it can be killed without."""

import os
from collections.abc import Mapping

from squall.settings.start import command


def spawn_launcher(*, socket: str, state: str, log: str, env: Mapping[str, str] | None = None) -> int:
    """Start a launcher that listens at `socket` for the agent of the state directory `state`; its pid.

    It is this process's child until this process ends: whoever reaps it learns of its end. It has no descriptor but
    its log, and of the environment only what finds programs, plus `env`. The socket is there once it can be connected
    to. Raises OSError (too many processes, no such directory for the log).
    """
    argv = command("squall.runtime.launcher", socket, "--state", state)
    clean = {"PATH": os.defpath, "LANG": "C.UTF-8", **(env or {})}
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        argv[0],
        argv,
        clean,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
    )
