"""Control groups: one container's limits, what it used, and which limit it met."""

import errno
import os
from typing import Protocol

from squall.runtime.cgroup_plan import CgroupMount, Cgroups, CgroupTree
from squall.runtime.spec import Limits

_PERIOD_US = 100_000


class Group(Protocol):
    """One container's control group, in every hierarchy that it needs."""

    def add(self, pid: int) -> None:
        """Put a process, and whatever it will fork, under the limits."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that a process's pid is written to, one in each hierarchy, to put it under the limits."""

    def oom_kills(self) -> int:
        """How many processes the kernel has killed in it for memory."""

    def refused_forks(self) -> int:
        """How often its limit of processes refused one."""

    def peak_bytes(self) -> int:
        """The most memory that it ever had, 0 where the kernel does not say."""

    def memory_event(self) -> int | None:
        """A new descriptor that becomes readable when its memory runs out; None where the kernel kills all of it."""

    def remove(self) -> bool:
        """Remove it; False while something is still in it."""


def make_group(chosen: Cgroups, name: str, limits: Limits) -> Group:
    """A new group `name` with `limits`. Raises OSError where it cannot be made; nothing is left of it then."""
    group = GroupV1(chosen, name) if chosen.version == 1 else GroupV2(chosen, name)
    try:
        group.make(limits)
    except OSError:
        group.remove()
        raise
    return group


class GroupV1:
    """A group of version 1: one directory for each controller."""

    def __init__(self, chosen: Cgroups, name: str) -> None:
        self._paths = {controller: f"{base}/{name}" for controller, base in chosen.bases}

    def make(self, limits: Limits) -> None:
        for path in self._paths.values():
            os.mkdir(path, 0o755)
        if (memory := self._paths.get("memory")) and limits.memory_bytes is not None:
            write_file(f"{memory}/memory.limit_in_bytes", limits.memory_bytes)
            if os.path.exists(f"{memory}/memory.memsw.limit_in_bytes"):
                write_file(f"{memory}/memory.memsw.limit_in_bytes", limits.memory_bytes)
        if (cpu := self._paths.get("cpu")) and limits.cpu_milli is not None:
            write_file(f"{cpu}/cpu.cfs_period_us", _PERIOD_US)
            write_file(f"{cpu}/cpu.cfs_quota_us", _quota_us(limits.cpu_milli))
        if (pids := self._paths.get("pids")) and limits.pids is not None:
            write_file(f"{pids}/pids.max", limits.pids)

    def add(self, pid: int) -> None:
        for path in self.files:
            write_file(path, pid)

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"{path}/cgroup.procs" for path in self._paths.values())

    def oom_kills(self) -> int:
        return self._count("memory", "memory.oom_control", "oom_kill")

    def refused_forks(self) -> int:
        return self._count("pids", "pids.events", "max")

    def peak_bytes(self) -> int:
        memory = self._paths.get("memory")
        return 0 if memory is None else _read_number(f"{memory}/memory.max_usage_in_bytes")

    def memory_event(self) -> int | None:
        memory = self._paths.get("memory")
        if memory is None:
            return None
        opened: list[int] = []
        try:
            opened.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
            opened.append(os.open(f"{memory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC))
            write_file(f"{memory}/cgroup.event_control", f"{opened[0]} {opened[1]}")
        except OSError:
            # Not every kernel tells; the end of the runner still does.
            for fd in opened:
                os.close(fd)
            return None
        os.close(opened[1])
        return opened[0]

    def remove(self) -> bool:
        # Each is tried, also after one that is busy.
        return {_remove_directory(path) for path in self._paths.values()} <= {True}

    def _count(self, controller: str, file: str, key: str) -> int:
        path = self._paths.get(controller)
        return 0 if path is None else _read_key(f"{path}/{file}", key)


class GroupV2:
    """A group of version 2: one directory for all controllers."""

    def __init__(self, chosen: Cgroups, name: str) -> None:
        base = next(iter(dict(chosen.bases).values()))
        self._base = base
        self._controllers = [controller for controller, _ in chosen.bases]
        self._path = f"{base}/{name}"

    def make(self, limits: Limits) -> None:
        write_file(f"{self._base}/cgroup.subtree_control", " ".join(f"+{name}" for name in self._controllers))
        os.mkdir(self._path, 0o755)
        if limits.memory_bytes is not None:
            write_file(f"{self._path}/memory.max", limits.memory_bytes)
            _write_where_there(f"{self._path}/memory.swap.max", 0)
            _write_where_there(f"{self._path}/memory.oom.group", 1)
        if limits.cpu_milli is not None and "cpu" in self._controllers:
            write_file(f"{self._path}/cpu.max", f"{_quota_us(limits.cpu_milli)} {_PERIOD_US}")
        if limits.pids is not None and "pids" in self._controllers:
            write_file(f"{self._path}/pids.max", limits.pids)

    def add(self, pid: int) -> None:
        write_file(self.files[0], pid)

    @property
    def files(self) -> tuple[str, ...]:
        return (f"{self._path}/cgroup.procs",)

    def oom_kills(self) -> int:
        return _read_key(f"{self._path}/memory.events", "oom_kill")

    def refused_forks(self) -> int:
        return _read_key(f"{self._path}/pids.events", "max")

    def peak_bytes(self) -> int:
        return _read_number(f"{self._path}/memory.peak")

    def memory_event(self) -> int | None:
        return None

    def remove(self) -> bool:
        return _remove_directory(self._path)


def look_at_cgroups() -> CgroupTree:
    """What this machine's control groups look like to this process."""
    mounts, own = tuple(_mounted()), _own_groups()
    writable, available, occupied = set(), {}, set()
    for mount in mounts:
        for base in _candidates(mount, own):
            files = [base, f"{base}/cgroup.procs"]
            files += [f"{base}/cgroup.subtree_control"] if mount.version == 2 else []
            if all(os.access(path, os.W_OK) for path in files):
                writable.add(base)
            if mount.version == 2:
                available[base] = frozenset(_read_text(f"{base}/cgroup.controllers").split())
                if _read_text(f"{base}/cgroup.procs").strip():
                    occupied.add(base)
    return CgroupTree(
        mounts=mounts,
        own=own,
        writable=frozenset(writable),
        available=available,
        occupied=frozenset(occupied),
    )


def remove_group(chosen: Cgroups, name: str) -> None:
    """Remove the group `name`, wherever it is; nothing happens where there is none."""
    for base in set(dict(chosen.bases).values()):
        _remove_directory(f"{base}/{name}")


def groups_named(chosen: Cgroups, prefix: str) -> set[str]:
    """The names of the groups that begin with `prefix`."""
    return {
        name
        for base in set(dict(chosen.bases).values())
        for name in os.listdir(base)
        if name.startswith(prefix) and os.path.isdir(f"{base}/{name}")
    }


def _mounted() -> list[CgroupMount]:
    found = []
    known = {
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "pids",
        "devices",
        "freezer",
        "blkio",
        "hugetlb",
        "net_cls",
    }
    for line in _read_text("/proc/self/mounts").splitlines():
        _, path, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found.append(CgroupMount(path=path, version=2))
        elif kind == "cgroup":
            found.append(CgroupMount(path=path, version=1, controllers=frozenset(options.split(",")) & known))
    return found


def _own_groups() -> dict[str, str]:
    own = {}
    for line in _read_text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            own[name] = path
    return own


def _candidates(mount: CgroupMount, own: dict[str, str]) -> list[str]:
    """The directories of one hierarchy that might take our groups: our own and, for version 2, those above it."""
    if mount.version == 1:
        return [
            f"{mount.path}/{own[name].strip('/')}".rstrip("/") for name in mount.controllers if name in own
        ]
    parts = [part for part in own.get("", "").split("/") if part]
    return ["/".join([mount.path, *parts[:depth]]) for depth in range(len(parts), -1, -1)]


def _quota_us(cpu_milli: int) -> int:
    # The kernel takes no quota below a thousandth of a second.
    return max(1000, cpu_milli * _PERIOD_US // 1000)


def write_file(path: str, value: int | str) -> None:
    """Write a file of the kernel's, which must be there, in one piece. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _write_where_there(path: str, value: int | str) -> None:
    try:
        write_file(path, value)
    except FileNotFoundError:
        pass  # A kernel built without it, or with swap switched off.


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _read_number(path: str) -> int:
    text = _read_text(path).strip()
    return int(text) if text.isdigit() else 0


def _read_key(path: str, key: str) -> int:
    pairs = (line.split() for line in _read_text(path).splitlines())
    return next((int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] == key), 0)


def _remove_directory(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as problem:
        if problem.errno != errno.EBUSY:
            raise
        return False
    return True
