"""The bundle: a container's root and configuration, laid out where its OCI runtime finds them."""

import os

from squall.runtime import syscalls

# Over the machine's own, in the mount namespace of the container's first process alone: a directory that every machine
# has, below which nothing of ours is closed to the container's ids, as a state directory may be.
TOP = "/tmp"  # noqa: S108 - it is a fresh file system, in which nobody else can write
BUNDLE = f"{TOP}/bundle"
STATE = f"{TOP}/state"
LOG = f"{TOP}/log"
_CGROUPS = "/sys/fs/cgroup"
_QUIET = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


def make(root_fd: int, config: str, *, owner: int | None, hide_cgroups: bool) -> None:
    """Show the root that `root_fd` is at BUNDLE/rootfs, with `config` beside it, and a /proc of this pid namespace.

    owner: whom files belong to, None for whoever we are.
    """
    # The copy is made before its path's file system is hidden.
    tree = syscalls.clone_tree(f"/proc/self/fd/{root_fd}")
    try:
        syscalls.mount("tmpfs", TOP, "tmpfs", _QUIET, "mode=0755")
        for path, mode in ((BUNDLE, 0o755), (f"{BUNDLE}/rootfs", 0o755), (STATE, 0o700)):
            os.mkdir(path)
            os.chmod(path, mode)
        write(f"{BUNDLE}/config.json", config)
        if owner is not None:
            for path in (TOP, BUNDLE, f"{BUNDLE}/config.json", STATE):
                os.chown(path, owner, owner)
        target = os.open(f"{BUNDLE}/rootfs", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.attach_tree(tree, target)
        finally:
            os.close(target)
    finally:
        os.close(tree)
    syscalls.mount("proc", "/proc", "proc", _QUIET)
    if hide_cgroups and os.path.isdir(_CGROUPS):
        syscalls.mount("tmpfs", _CGROUPS, "tmpfs", _QUIET | syscalls.MS_RDONLY, "mode=0755,size=4k")


def write(path: str, text: str) -> None:
    """Write a file that only its owner can read."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
