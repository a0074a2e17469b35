"""Supervising, as seen by a client: the supervisor of a state directory, found, started, told and waited for."""

import os
import select
import signal
from collections.abc import Sequence

from squall.model.errors import ProcessLimitTooLow, ServerNotStarted
from squall.settings.paths import StatePaths
from squall.settings.process import open_process
from squall.settings.record import read_record
from squall.settings.start import command

# What a server gets of its first client's environment: enough to find programs and to speak the user's
# language. Not the rest: it outlives that client, and other programs' secrets are none of its business.
_KEPT = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "DBUS_SESSION_BUS_ADDRESS",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "NVIDIA_VISIBLE_DEVICES",
        "PATH",
        "SHELL",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "USER",
    }
)
_KEPT_BEGINNINGS = ("LC_", "XDG_", "SQUALL_")
_REAP_WITHIN_S = 1.0


class Watched:
    """A process that is waited for. child: its number if it is ours to reap."""

    def __init__(self, pidfd: int, child: int | None = None) -> None:
        self._pidfd = pidfd
        self._child = child

    def ended(self, within_s: float) -> int | None:
        """Its exit status (0 where it is not our child) once it has ended, waited for; None if it has not.

        Closed then, and of no more use.
        """
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(within_s * 1000):
            return None
        self._close()
        if self._child is None:
            return 0
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        except ChildProcessError:  # the program reaps its children wholesale
            return 0

    def let_go(self) -> None:
        """Wait no more. A child of ours that is at its end is reaped; it lives no longer than its start takes."""
        if self._child is None or self.ended(_REAP_WITHIN_S) is None:
            self._close()

    def _close(self) -> None:
        os.close(self._pidfd)


def supervisor_command(paths: StatePaths) -> tuple[str, ...]:
    return command("squall.supervisor", "--state", str(paths.state), "--detach", bare=True)


def find_supervisor(paths: StatePaths, *, tell: signal.Signals | None = None) -> Watched | None:
    """The live supervisor of `paths`, told the signal if one is given; None where there is none.

    One that is ending is of interest only to who tells it to.
    """
    record = read_record(paths.supervisor_record)
    if record is None or (record.ending and tell is None):
        return None
    pidfd = open_process(record.supervisor)
    if pidfd is None:
        return None
    if tell is not None:
        signal.pidfd_send_signal(pidfd, tell)
    return Watched(pidfd)


def start_supervisor(paths: StatePaths, argv: Sequence[str]) -> Watched:
    """A new supervisor, in a session of its own and with no file of ours but its log.

    What is watched is the process that starts it: it ends with 0 when the supervisor is at work, or another is.
    Raises ProcessLimitTooLow, ServerNotStarted.
    """
    log = str(paths.log("supervisor"))
    try:
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            _environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}),
        )
        return Watched(os.pidfd_open(pid), pid)
    except BlockingIOError as problem:
        raise ProcessLimitTooLow(
            "no process can be started: this user has as many as it may have"
        ) from problem
    except OSError as problem:
        raise ServerNotStarted(f"{argv[0]} cannot be started: {problem.strerror}") from problem


def begin_supervisor(paths: StatePaths, *, supervisor: Sequence[str] | None = None) -> None:
    """Start a supervisor where none lives, and do not wait for it: `ensure_server` will, when the server is needed.

    What else a program has to load is loaded meanwhile. Raises ProcessLimitTooLow, ServerNotStarted.
    """
    living = find_supervisor(paths)
    if living is not None:
        living.let_go()
    elif not _begun:
        _begun.append(start_supervisor(paths, supervisor or supervisor_command(paths)))


def take_begun() -> Watched | None:
    """The supervisor that was begun and that nobody has waited for yet."""
    return _begun.pop() if _begun else None


# At most one: a process uses one state directory.
_begun: list[Watched] = []


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)
    }
