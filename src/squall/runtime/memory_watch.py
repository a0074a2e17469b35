"""Watches containers that no control group limits: their memory is sampled, and the container killed at its limit."""

import os

from squall.runtime.container import Container
from squall.runtime.process_tree import descendants, read_text, resident_bytes

_PAGE = os.sysconf("SC_PAGE_SIZE")
# Below this share of the limit the cheap count is good enough: it counts shared pages once for each process.
_NEAR = 0.8


class MemoryWatch:
    """Samples live containers. A container over its limit is ended, as the kernel would end one with a control group."""

    def look(self, container: Container) -> None:
        """Take one sample; kills the container if it is over its limit."""
        limit = container.spec.limits.memory_bytes
        used = _used_bytes(container.roots, near=None if limit is None else int(limit * _NEAR))
        used += container.tmpfs_bytes()
        container.peak_bytes = max(container.peak_bytes, used)
        if limit is not None and used > limit:
            container.over_memory = True
            container.kill(asked=False)


def _used_bytes(roots: tuple[int, ...], *, near: int | None) -> int:
    """Bytes in memory of `roots` and all that descend from them, the share of shared pages only if it is near."""
    pids = [pid for root in roots for pid in descendants(root)]
    cheap = sum(resident_bytes(pid) for pid in pids)
    if near is None or cheap < near:
        return cheap
    return sum(_proportional(pid) for pid in pids)


def _proportional(pid: int) -> int:
    """The same, with pages shared between processes divided among them."""
    found = 0
    for line in read_text(f"/proc/{pid}/smaps_rollup").splitlines():
        name, _, value = line.partition(":")
        if name in {"Pss_Anon", "Pss_Shmem"}:
            found += int(value.split()[0]) * 1024
    return found or resident_bytes(pid)
