"""An attacher: a process that puts others into their control groups, while whoever asks for it goes on.

With version 1 the kernel waits for a grace period at each of the hierarchies: milliseconds on an idle machine, in which
a launcher could have started several containers.
"""

import os
import signal

from squall.runtime import syscalls
from squall.runtime.cgroups import Group, write_file


class Attacher:
    """Puts processes into groups, in the order in which it is asked to. Nothing is told of one that has ended."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _serve(read)
        os.close(read)
        os.set_blocking(self._write, False)

    def attach(self, group: Group, pid: int) -> None:
        """Put the process into the group, soon."""
        asked = "".join(f"{pid} {path}\n" for path in group.files)
        try:
            os.write(self._write, asked.encode())
        except OSError:
            # It is gone or behind by thousands: then we wait ourselves.
            try:
                group.add(pid)
            except ProcessLookupError:
                pass  # It has ended by itself.

    def close(self) -> None:
        """End it, once it has done what it was asked."""
        os.close(self._write)
        os.waitpid(self._pid, 0)


def _serve(read: int) -> None:
    try:
        signal.set_wakeup_fd(-1)
        syscalls.close_others((read,))
        syscalls.die_with_parent(signal.SIGKILL)
        syscalls.set_name("squall-attacher")
        with open(read, encoding="utf-8", errors="surrogateescape") as asked:
            for line in asked:
                pid, _, path = line.rstrip("\n").partition(" ")
                try:
                    write_file(path, pid)
                except OSError:
                    continue  # The process or its group is gone.
    finally:
        os._exit(0)
