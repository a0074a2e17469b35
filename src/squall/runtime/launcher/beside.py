"""Beside: what may take long, done by children of a launcher while it goes on."""

import os
import selectors
import signal
import sys
from collections.abc import Callable

from squall.runtime import scratch
from squall.runtime.host import Host
from squall.runtime.leftovers import remove_leftovers
from squall.runtime.namespaces import do_as_container_root

# What a child ends with whose own code failed.
BROKEN = 70


class Beside:
    """The children of one launcher that help it out."""

    def __init__(self, selector: selectors.BaseSelector, host: Host, instance: str) -> None:
        self._selector = selector
        self._host = host
        self._instance = instance
        self._helpers: dict[int, int] = {}
        self._tidied: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether any of them has not ended."""
        return bool(self._helpers)

    def do(self, do: Callable[[], int], *, then: Callable[[int], None] | None = None) -> None:
        """Let a child `do` what may take long; `then` gets its exit code."""
        pid = os.fork()
        if pid == 0:
            code = BROKEN
            try:
                signal.set_wakeup_fd(-1)
                code = do()
            finally:
                os._exit(code)
        pidfd = os.pidfd_open(pid)
        self._helpers[pidfd] = pid
        self._selector.register(pidfd, selectors.EVENT_READ, lambda: self._take_up(pidfd, then))

    def _take_up(self, pidfd: int, then: Callable[[int], None] | None) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(self._helpers.pop(pidfd), 0)[1])
        if then is not None:
            then(code)

    def sweep(self, path: str) -> None:
        """Remove what a container left: it may be much, and slow."""
        self._as_container_root(lambda: _remove(path))

    def tidy(self, directory: str) -> None:
        """Once for each directory: remove what launchers that were killed have left in it."""
        if directory in self._tidied:
            return
        self._tidied.add(directory)

        def tidy() -> int:
            os.nice(10)
            remove_leftovers(directory, self._host, self._instance)
            return 0

        self._as_container_root(tidy)

    def _as_container_root(self, do: Callable[[], int]) -> None:
        if self._host.subordinate is None:
            self.do(do)
        else:
            self.do(lambda: do_as_container_root(self._host, do))


def _remove(path: str) -> int:
    try:
        scratch.remove(path)
    except OSError as problem:
        print(f"{path} could not be removed: {problem}", file=sys.stderr, flush=True)
        return BROKEN
    return 0
