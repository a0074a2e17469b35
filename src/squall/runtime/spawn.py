"""Spawns a launcher: a process of its own session that whoever started it can be killed without."""

import errno
import os
from collections.abc import Mapping

from squall import faults
from squall.settings.start import command

# Objects of megabytes in huge pages where the kernel gives them on request: a bytes argument of 100 MB is there in 10 ms
# in place of 40. It is read once, at the start of a program; runners have an environment of their own.
_LARGE_OBJECTS = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# Where it may write, and whom it trusts.
_WHERE = frozenset({"TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"})


def spawn_launcher(*, socket: str, state: str, log: str, env: Mapping[str, str] | None = None) -> int:
    """Start a launcher that listens at `socket` for the agent of the state directory `state`; its pid.

    It is this process's child until this process ends: whoever reaps it learns of its end. It has no descriptor but
    its log, and of the environment only what finds programs, plus `env`. The socket is there once it can be connected
    to. Raises OSError (too many processes, no such directory for the log).
    """
    argv = command("squall.runtime.launcher", socket, "--state", state)
    clean = {"PATH": os.defpath, "LANG": "C.UTF-8", **_LARGE_OBJECTS, **faults.environment(), **(env or {})}
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


def spawn_with_input(program: str, *arguments: str, text: bytes, log: str) -> int:
    """Start a program of ours in its own session, which reads `text` to the end of its standard input; its pid.

    What is secret goes this way: no argument and no variable holds it. At most what a pipe takes at once, 64 KiB. It is this
    process's child until this process ends. Raises OSError.
    """
    argv = command(program, *arguments)
    clean = {"PATH": os.defpath, "LANG": "C.UTF-8", **faults.environment()}
    clean |= {name: value for name, value in os.environ.items() if name in _WHERE}
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    given, give = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(give, False)
        if os.write(give, text) != len(text):
            raise OSError(errno.E2BIG, "more than a pipe holds", program)
        return os.posix_spawn(
            argv[0],
            argv,
            clean,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, given, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
        )
    finally:
        os.close(given)
        os.close(give)
