"""Leaks: what state directories have on the machine: processes, namespaces, control groups, mounts, network devices, files.

Others may use the machine at the same time, so what is ours is known by the folders that the state directories are in, and
by the instance's name that comes of each: control groups and devices of the network have it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from squall.runtime.instance import instance_of

# Processes of ours that name no folder: what they were forked from has been wiped off them.
_NAMELESS = {"squall-init", "squall-runner", "squall-attacher", "squall-template"}
_LAUNCHERS = b"squall.runtime.launcher"
# Where, below a state directory, nothing stays once all containers and builds have ended. What a writer of blobs has died
# over is not among it: it goes by its age, as another writer may be at work there.
_EMPTIED = ("scratch", "builds", "run/launchers", "trees/staging", "rendered/staging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is of ours at one moment, each thing as a line that a person can read."""

    processes: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    control_groups: frozenset[str] = frozenset()
    mounts: frozenset[str] = frozenset()
    network_devices: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


def left(before: Seen, after: Seen) -> list[str]:
    """What is there after and was not before, a line for each."""
    return [
        f"{field.name.replace('_', ' ')}: {line}"
        for field in fields(Seen)
        for line in sorted(getattr(after, field.name) - getattr(before, field.name))
    ]


def look(folders: frozenset[Path], *, orphans: bool = False) -> Seen:
    """What there is now of the state directories `state` in these folders.

    orphans: also processes of whatever instance that have lost their launcher, which on a machine of one's own are ours.
    """
    instances = [instance_of(str(folder / "state")) for folder in folders]
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    processes = {pid: line for pid in pids if (line := _ours(pid, folders, instances, orphans)) is not None}
    return Seen(
        processes=frozenset(f"{pid} {line}" for pid, line in processes.items()),
        namespaces=_namespaces(list(processes)) | _held_namespaces(),
        control_groups=frozenset(_groups(instances)),
        mounts=frozenset(_mounts(folders)),
        network_devices=frozenset(_devices(instances)),
        files=frozenset(str(folder) for folder in folders if folder.exists()),
    )


def unswept(state: Path) -> list[str]:
    """What lies in a state directory that should have gone with its containers, builds and writers."""
    return [
        f"{place}/{name}"
        for place in _EMPTIED
        for name in (sorted(os.listdir(state / place)) if (state / place).is_dir() else ())
    ]


def descriptors(pid: int) -> list[str]:
    """The kinds of what a process has open, sorted; those that differ from run to run without their numbers."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        found.append(link.partition(":[")[0])
    return sorted(found)


def _ours(pid: int, folders: frozenset[Path], instances: list[str], orphans: bool) -> str | None:  # noqa: FBT001 - see `look`
    """The process in words, if it is ours: by its arguments, by its group, or as one that has lost its launcher."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        groups = Path(f"/proc/{pid}/cgroup").read_text()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if _state(pid) in "ZX":
            return None  # It has ended; its parent has not taken that up yet.
    except OSError:
        return None
    named = any(os.fsencode(folder) in arguments for folder in folders)
    grouped = any(f"squall-{instance}-" in groups for instance in instances)
    if named or grouped or (orphans and name in _NAMELESS and not _has_launcher(pid)):
        return f"{name}: {arguments.decode(errors='replace').strip()[:200]}"
    return None


def _has_launcher(pid: int) -> bool:
    """Whether a launcher is among those that it descends from: then that one's tests look after it."""
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if _LAUNCHERS in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
        except OSError:
            return True  # It has just ended.
        pid = int(stat[1])
    return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _namespaces(pids: list[int]) -> frozenset[str]:
    """Those of our processes that are not ours as well."""
    own = {os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    found = set()
    for pid in pids:
        try:
            found |= {os.readlink(f"/proc/{pid}/ns/{name}") for name in os.listdir(f"/proc/{pid}/ns")}
        except OSError:
            continue
    return frozenset(found - own)


def _held_namespaces() -> frozenset[str]:
    """Namespaces that a mount of this machine, or a descriptor of ours, keeps without any process in them."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounted = {f"mounted at {line.split()[4]}" for line in file if " - nsfs " in line}
    kinds = ("mnt", "net", "ipc", "uts", "pid", "user", "cgroup")
    held = {link for link in _links() if link.partition(":[")[0] in kinds}
    return frozenset(mounted | held)


def _links() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue


def _groups(instances: list[str]) -> Iterator[str]:
    # Other tests' groups come and go meanwhile, which walking does not mind.
    for top, names, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            if any(name.startswith(f"squall-{instance}-") for instance in instances):
                yield f"{top}/{name}"


def _mounts(folders: frozenset[Path]) -> Iterator[str]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if any(str(folder) in line for folder in folders):
            yield line


def _devices(instances: list[str]) -> Iterator[str]:
    """The host's ends of containers, whose names begin with as much of an instance as fits."""
    for _, name in socket.if_nameindex():
        if name.startswith("sq") and any(name[2:].startswith(instance[:6]) for instance in instances):
            yield name
