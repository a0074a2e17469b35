"""A member: the one server, or the one agent, of a state directory."""

import os
import stat
import sys
from collections.abc import Callable, Sequence

from squall.model.errors import InvalidError, LinuxNeeded, StateDirectoryError
from squall.settings.exit_status import ENDED, HOPELESS, TAKEN
from squall.settings.lock import Lock
from squall.settings.options import read_options
from squall.settings.paths import StatePaths, open_state
from squall.settings.process_log import ProcessLog

_MEMBERS = {"squall.server": "server", "squall.agent": "agent"}


def carry_out(program: str, arguments: Sequence[str], main: Callable[[], int]) -> int:
    """The exit status of `main`, the entry of `program`, in terms that a supervisor understands.

    The server and the agent, told `--state DIR`, hold their lock while they live, and their log is turned over
    by size; other programs of ours are let through. What would fail again in the same way ends with HOPELESS.
    """
    try:
        name = _MEMBERS.get(program)
        if name is None or "--state" not in arguments[:-1]:
            return main()
        paths = open_state(arguments[arguments.index("--state") + 1])
        lock = Lock.take(paths.member_lock(name))
        if lock is None:
            print(f"another {name} serves {paths.state} already", file=sys.stderr)
            return TAKEN
        _watch_log(paths, name)
        code = main()
        if code == ENDED:
            # For a supervisor that is not our parent, and cannot see the status.
            lock.finish("in good order")
        return code
    except (StateDirectoryError, InvalidError, LinuxNeeded) as refused:
        print(f"error[{refused.code}]: {refused}\n  what to do: {refused.remedy}", file=sys.stderr)
        return HOPELESS


def _watch_log(paths: StatePaths, name: str) -> None:
    path = paths.log(name)
    try:
        ours = os.path.samestat(os.stat(path), os.fstat(2))
    except OSError:
        return
    if ours and stat.S_ISREG(os.fstat(2).st_mode):
        log = ProcessLog(path, limit_bytes=read_options(paths.config).process_log_bytes)
        sys.stderr = log.stream()
