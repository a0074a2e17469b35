"""Watches containers that no control group limits: their memory is sampled, and the container killed at its limit."""

import os

from squall.runtime.container import Container

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
    pids = [pid for root in roots for pid in _descendants(root)]
    cheap = sum(_resident(pid) for pid in pids)
    if near is None or cheap < near:
        return cheap
    return sum(_proportional(pid) for pid in pids)


def _descendants(first: int) -> list[int]:
    found, open_ends = [first], [first]
    while open_ends:
        pid = open_ends.pop()
        # Each thread has the children that it forked itself.
        threads = _list(f"/proc/{pid}/task")
        lists = [_read(f"/proc/{pid}/task/{thread}/children") for thread in threads]
        children = [int(child) for child in " ".join(lists).split()]
        found += children
        open_ends += children
    return found


def _resident(pid: int) -> int:
    """What the process alone has in memory, and the memory files that it has mapped; no program files."""
    fields = {}
    for line in _read(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name in {"RssAnon", "RssShmem"}:
            fields[name] = int(value.split()[0]) * 1024
    return sum(fields.values())


def _proportional(pid: int) -> int:
    """The same, with pages shared between processes divided among them."""
    found = 0
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        name, _, value = line.partition(":")
        if name in {"Pss_Anon", "Pss_Shmem"}:
            found += int(value.split()[0]) * 1024
    return found or _resident(pid)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # It has ended meanwhile, or is not ours to look at.


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []  # It has ended meanwhile.
