"""Pid 1 of a container made by crun or runc: starts the runner, reaps, passes signals on, and says how it ended.

The runtime would tell a signal from an exit code by a number that either can have; and without a pid 1 of ours the
runner would be one, which gets no signal that it has no handler for, and whose orphans nobody reaps.
"""

import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable

from squall.runtime import syscalls

CONTROL_FD, LOG_FD, LINE_FD = 3, 4, 5
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(entry: str) -> None:
    """Live until the runner ends, and end like it. In the runner itself this returns when `entry` does."""
    line = socket.socket(fileno=LINE_FD)
    # The runner has the same ids: it is neither to stop this process, nor to read it.
    syscalls.set_dumpable(dumpable=False)
    runner = os.fork()
    if runner == 0:
        # From the runner, so that the kernel says its number outside.
        _tell(line, {"t": "running"})
        line.close()
        run_entry(entry, CONTROL_FD, LOG_FD)
        return
    os.close(CONTROL_FD)
    os.close(LOG_FD)
    pass_signals_on(runner)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == runner:
            _tell(line, {"t": "ended", "status": status})
            os._exit(code_of(status))


def run_entry(entry: str, control: int, log: int) -> None:
    """Be the runner: `entry` is "module:function"."""
    syscalls.set_dumpable(dumpable=True)
    os.setsid()
    os.set_inheritable(control, False)
    os.set_inheritable(log, False)
    sys.argv[:] = sys.orig_argv[:] = ["squall-runner"]
    module, _, name = entry.partition(":")
    run: Callable[[int, int], None] = getattr(importlib.import_module(module), name)
    run(control, log)


def pass_signals_on(runner: int) -> None:
    """What this process is sent is meant for the runner."""

    def pass_on(number: int, _frame: object) -> None:
        os.kill(runner, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)


def code_of(status: int) -> int:
    """What a shell makes of a wait status."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _tell(line: socket.socket, message: dict[str, object]) -> None:
    try:
        line.send(json.dumps(message).encode(), socket.MSG_NOSIGNAL)
    except OSError:
        pass  # Whoever listens is gone, and this container will be.


if __name__ == "__main__":
    main(sys.argv[1])
