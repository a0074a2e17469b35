"""Beside: what may take long, done by children of a launcher while it goes on."""

import os
import selectors
import signal
import time
from collections.abc import Callable

from squall.runtime.children import BROKEN
from squall.runtime.host import Host
from squall.runtime.launcher.sweeper import Sweeper
from squall.runtime.leftovers import remove_leftovers
from squall.runtime.namespaces import do_as_container_root
from squall.runtime.timers import Timers

_SWEEP_AFTER_S = 0.05


class Beside:
    """The children of one launcher that help it out."""

    def __init__(self, selector: selectors.BaseSelector, timers: Timers, host: Host, instance: str) -> None:
        self._selector = selector
        self._timers = timers
        self._host = host
        self._instance = instance
        self._helpers: dict[int, int] = {}
        self._tidied: set[str] = set()
        self._to_sweep: list[str] = []
        self._sweeper = Sweeper(selector, host)

    @property
    def busy(self) -> bool:
        """Whether any of them has not ended what it was begun for, or has still to begin."""
        return bool(self._helpers or self._to_sweep or self._sweeper.busy)

    def begin(self) -> None:
        """Begin the one that stays. Raises OSError; it is begun when it is needed then."""
        self._sweeper.begin()

    def close(self) -> None:
        """End the one that stays."""
        self._sweeper.close()

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
        """Remove what a container left: it may be much, and slow. A moment later: who starts just now would have to share
        the cores and the kernel's locks with that.
        """
        self._to_sweep.append(path)
        if len(self._to_sweep) == 1:
            self._timers.at(time.monotonic() + _SWEEP_AFTER_S, self._sweep_all)

    def _sweep_all(self) -> None:
        paths, self._to_sweep = self._to_sweep, []
        self._sweeper.remove(paths)

    def tidy(self, directory: str) -> None:
        """Once for each directory: remove what launchers that were killed have left in it."""
        if directory in self._tidied:
            return
        self._tidied.add(directory)

        def tidy() -> int:
            os.nice(10)
            remove_leftovers(directory, self._host, self._instance)
            return 0

        if self._host.subordinate is None:
            self.do(tidy)
        else:
            self.do(lambda: do_as_container_root(self._host, tidy))
