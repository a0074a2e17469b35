"""Leak count: what one Squall has on this machine, so that what it had before can be compared with what it has after."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from squall.runtime.instance import instance_of


def descendants(roots: Iterable[int], parents: Mapping[int, int]) -> set[int]:
    """All processes below `roots`, without those themselves. parents: the parent of each process."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    pending = list(roots)
    while pending:
        fresh = [child for child in children.get(pending.pop(), []) if child not in found]
        found.update(fresh)
        pending += fresh
    return found


def parent_in(stat: str) -> int:
    """The parent's pid in a line of /proc/PID/stat, whose second field may hold spaces and brackets."""
    return int(stat.rpartition(")")[2].split()[1])


def parents_now() -> dict[int, int]:
    """The parent of each process that is there."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found[int(name)] = parent_in(Path("/proc", name, "stat").read_text())
            except OSError:
                continue  # it has ended meanwhile
    return found


def look(state: Path, roots: Iterable[int]) -> dict[str, int]:
    """How many processes there are below `roots`, and cgroups, mounts and scratch directories of this state directory."""
    mark = f"squall-{instance_of(str(state))}-"
    groups = sum(mark in name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    mounts = sum(str(state) in line for line in Path("/proc/mounts").read_text().splitlines())
    scratch = state / "scratch"
    return {
        "processes": len(descendants(roots, parents_now())),
        "cgroups": groups,
        "mounts": mounts,
        "scratch directories": len(list(scratch.iterdir())) if scratch.is_dir() else 0,
    }


def more_than(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What there is more of than before, and how many."""
    return {name: after[name] - before[name] for name in before if after[name] > before[name]}
