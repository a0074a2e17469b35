"""Leftovers: what the containers of a launcher that was killed have left on the host, found and removed."""

import os
import time

from squall.runtime import scratch
from squall.runtime.cgroups import remove_group
from squall.runtime.host import Host


def remove_leftovers(directory: str, host: Host, instance: str) -> list[str]:
    """Remove the directories and groups of containers below `directory` that no launcher holds; their names.

    What cannot be removed now is left for the next time.
    """
    removed = []
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    for name in names:
        path = f"{directory}/{name}"
        if scratch.is_abandoned(path, now_s=time.time()):
            try:
                remove_group(host.cgroup, f"squall-{instance}-{name}")
                scratch.remove(path)
            except OSError:
                continue
            removed.append(name)
    return removed
