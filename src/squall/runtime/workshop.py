"""The workshop of a template's init: a small root in which sandboxes are made, and little of the host is to be seen."""

import os

from squall.runtime import devices, overlay, syscalls
from squall.runtime.id_maps import needed
from squall.runtime.plan import MountWorkshop

_QUIET = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


def mount_workshop(step: MountWorkshop, *, ids: int | None) -> int:
    """Mount a tmpfs with what `step` shows in it, each path of the host at its own place; a descriptor of it.

    Its /proc is that of the new pid namespace and whole: the kernel mounts another one only where one is seen as it is.
    """
    target = step.target
    os.mkdir(target, 0o700)
    syscalls.mount("tmpfs", target, "tmpfs", syscalls.MS_NOSUID, "mode=0755,size=1m")
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    overlay.mount_inside(root, "proc", "proc", flags=_QUIET)
    with overlay.target_inside(root, "dev", directory=True) as dev:
        devices.add_nodes(dev, make=False)
        if step.serves:
            devices.add_served(dev)
    for mount in step.shown:
        own = needed(ids) if mount.source in step.owned else None
        overlay.bind_inside(root, mount.source, mount.target, writable=mount.writable, ids=own)
    return root
