"""The launcher's main: looks at the machine, warms up what its containers are forked from, and serves."""

import gc
import importlib
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress

from squall.runtime.agent_line import listen
from squall.runtime.instance import instance_of
from squall.runtime.launcher.serve import Launcher
from squall.runtime.probe import probe
from squall.runtime.seccomp import filter_for
from squall.runtime.spec import PACKAGES_ENTRY, PRELOAD_ENTRY, RENEW_ENTRY, RUNNER_ENTRY, USER_ENTRY


def main(arguments: Sequence[str]) -> int:
    """Run a launcher on the socket that the command line names, until nobody needs it; its exit status."""
    path, state = _where(arguments)
    # Whatever directory we were started in stays free to be removed.
    os.chdir("/")
    _raise_file_limit()
    listener = listen(path)
    try:
        for entry in (RUNNER_ENTRY, USER_ENTRY, PRELOAD_ENTRY, PACKAGES_ENTRY, RENEW_ENTRY):
            _warm(entry)
        host = probe(state)
        if not host.sandbox_refused:
            # Compiled here once, not in each container.
            filter_for(host.machine)
            filter_for(host.machine, may_join=True)
        launcher = Launcher(listener, host, instance_of(state))
        gc.collect()
        # What is here now is shared by every container that is forked from it, as long as nobody writes to it.
        gc.freeze()
        launcher.run()
    finally:
        listener.close()
        # The agent removes the socket of a launcher that it takes for lost, or the state directory is gone.
        with suppress(OSError):
            os.unlink(path)
    return 0


def _where(arguments: Sequence[str]) -> tuple[str, str]:
    """The socket, and the state directory whose containers these are: SOCKET [--state DIRECTORY].

    Read by hand: what a launcher loads, it hands on to every container, and each start pays for its pages.
    """
    match list(arguments):
        case [socket]:
            path = os.path.abspath(socket)
            return path, os.path.dirname(path)
        case [socket, "--state", state]:
            return os.path.abspath(socket), os.path.abspath(state)
    sys.exit("usage: squall-launcher SOCKET [--state DIRECTORY]")


def _raise_file_limit() -> None:
    """Each container takes some ten descriptors here; what it may open itself is set in its plan."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _warm(entry: str) -> None:
    """Import what a forked runner needs, so that no container has to; where that fails, each container says why."""
    try:
        importlib.import_module(entry.partition(":")[0])
    except ImportError as problem:
        print(f"{entry} could not be warmed up: {problem}", file=sys.stderr, flush=True)
