"""Leftovers: what the containers of a launcher that was killed have left on the host, found and removed."""

import os
import time

from squall.runtime import scratch
from squall.runtime.cgroups import groups_named, remove_group
from squall.runtime.host import Host


def remove_leftovers(directory: str, host: Host, instance: str) -> list[str]:
    """Remove the directories of containers below `directory` that no launcher holds, and their groups; their names.

    Groups without a directory go too, if nothing is in them. What cannot be removed now is left for the next time.
    """
    removed = []
    prefix = f"squall-{instance}-"
    # Before the directories: a container that starts meanwhile has its directory before its group.
    try:
        groups = groups_named(host.cgroup, prefix)
        names = set(os.listdir(directory))
    except OSError:
        return []
    for name in names:
        path = f"{directory}/{name}"
        if scratch.is_abandoned(path, now_s=time.time()):
            try:
                for group in sorted(one for one in groups if _owner(one, prefix) == name):
                    remove_group(host.cgroup, group)
                scratch.remove(path)
            except OSError:
                continue
            removed.append(name)
    # One of a sandbox that is being made has nothing in it for a moment: it stays with the directory of its template.
    for group in sorted(one for one in groups if _owner(one, prefix) not in names):
        try:
            remove_group(host.cgroup, group)
        except OSError:
            continue
    return removed


def _owner(group: str, prefix: str) -> str:
    """The name of the directory that a group belongs to: sandboxes made ahead are called TEMPLATE.NUMBER."""
    return group.removeprefix(prefix).partition(".")[0]
