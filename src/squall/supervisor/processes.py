"""Processes under supervision: started or adopted, told, waited for."""

import errno
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from squall.settings.exit_status import ENDED, HOPELESS, TAKEN
from squall.settings.lock import last_holder
from squall.settings.process import ProcessMark, mark_of, open_process
from squall.supervisor.plan import Ending, Signal

_SIGNALS = {
    Signal.STOP: signal.SIGTERM,
    Signal.STOP_ALL: signal.SIGINT,
    Signal.KILL: signal.SIGKILL,
}

_MEANINGS = {
    ENDED: (Ending.ENDED, "ended in good order"),
    TAKEN: (Ending.TAKEN, "found its lock taken"),
    HOPELESS: (Ending.HOPELESS, "cannot run as things are"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A live process that we hold a pidfd of. child: ours to reap; else started by an earlier supervisor."""

    mark: ProcessMark
    pidfd: int
    child: bool


def start(argv: Sequence[str], log: Path) -> Process:
    """Start `argv` with nothing but its log open. Raises OSError (no such program, too many processes)."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setpgroup=0,
        setsigmask=(),
    )
    # Until we reap it, the number is the child's own, dead or alive.
    mark = mark_of(pid) or ProcessMark(pid=pid, started=0, boot="")
    return Process(mark=mark, pidfd=os.pidfd_open(pid), child=True)


def adopt(mark: ProcessMark) -> Process | None:
    """The process `mark` if it still lives."""
    pidfd = open_process(mark)
    return None if pidfd is None else Process(mark=mark, pidfd=pidfd, child=False)


def tell(process: Process, what: Signal) -> None:
    """Send the signal to exactly this process; one that has ended is told nothing."""
    try:
        signal.pidfd_send_signal(process.pidfd, _SIGNALS[what])
    except ProcessLookupError:
        return


def bury(process: Process, lock: Path) -> tuple[Ending, str]:
    """How the process, whose pidfd says that it has ended, did so; in our terms and in words."""
    os.close(process.pidfd)
    if not process.child:
        # Its exit status went to whoever is its parent now; what it meant to say stands in its lock.
        holder = last_holder(lock)
        if holder is not None and holder.mark == process.mark and holder.ended:
            return Ending.ENDED, f"ended: {holder.ended}"
        return Ending.FELL, "ended, exit status unknown"
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(process.mark.pid, 0)[1])
    except OSError as problem:
        if problem.errno != errno.ECHILD:
            raise
        return Ending.FELL, "ended, reaped by another"
    if code < 0:
        return Ending.FELL, f"killed by signal {-code}"
    return _MEANINGS.get(code, (Ending.FELL, f"exit status {code}"))
