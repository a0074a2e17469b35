"""Id maps: user namespaces that say which ids of the host a container's are, for showing files that have those as owners."""

import os
import signal
import time

from squall.runtime import syscalls
from squall.runtime.host import Host
from squall.runtime.namespaces import write_map
from squall.runtime.spec import UID_RANGE, SandboxSpec
from squall.runtime.timers import Timers

# A launcher's containers have the same ids one after the other.
_KEPT_S = 2.0


class IdMaps:
    """Those of one launcher, each kept until nobody has asked for it in a while."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._kept: dict[int, tuple[int, float]] = {}

    def of(self, uid_base: int) -> int:
        """A user namespace (its file) in which 0..65535 are the host's ids from `uid_base` on; it stays ours.

        Raises OSError where the kernel refuses one.
        """
        now = time.monotonic()
        if uid_base not in self._kept:
            self._kept[uid_base] = (id_map(uid_base), now)
            self._timers.at(now + _KEPT_S, lambda: self._look_at(uid_base))
        fd, _ = self._kept[uid_base]
        self._kept[uid_base] = (fd, now)
        return fd

    def for_spec(self, spec: SandboxSpec, host: Host) -> int | None:
        """The one that a container like `spec` is made with; None where it needs none."""
        if not (host.privileged and spec.owned) or spec.uid_base is None:
            return None
        return self.of(spec.uid_base)

    def _look_at(self, uid_base: int) -> None:
        fd, used_at = self._kept[uid_base]
        if time.monotonic() < used_at + _KEPT_S:
            self._timers.at(used_at + _KEPT_S, lambda: self._look_at(uid_base))
            return
        del self._kept[uid_base]
        os.close(fd)


def id_map(uid_base: int) -> int:
    """A new one, for the caller to close. As root only."""
    if uid_base < UID_RANGE:
        raise ValueError(f"the ids below {UID_RANGE} are the host's own: none of them is a container's")
    pid = syscalls.clone(syscalls.CLONE_NEWUSER)
    if pid == 0:
        # A namespace without a process cannot be had: this one is there until it is open.
        while True:
            signal.pause()
    try:
        both = f"0 {uid_base} {UID_RANGE}\n"
        write_map(pid, "uid_map", both)
        write_map(pid, "gid_map", both)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def needed(ids: int | None) -> int:
    """`ids`, where files are to be shown with a container's ids. Raises OSError without any."""
    if ids is None:
        raise PermissionError(
            "files with a container's owners are to be shown, and nobody said which ids those are"
        )
    return ids
