"""The /proc of a container: that of its own pid namespace, without what speaks of the host."""

import os

from squall.runtime import overlay, syscalls

_QUIET = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
# Not without devices: what is masked by the null device then reads as empty.
_READ_ONLY = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC


def mount_proc(
    root_fd: int,
    *,
    masked_files: tuple[str, ...],
    masked_directories: tuple[str, ...],
    read_only: tuple[str, ...],
    anew: bool = True,
) -> None:
    """Mount /proc, put nothing over the masked files and directories, and make the `read_only` paths so.

    anew: or show the /proc of whoever calls, where the pid namespace is not ours to mount one of.
    Paths that this kernel does not have are passed over. Raises OSError where one cannot be hidden.
    """
    if anew:
        overlay.mount_inside(root_fd, "proc", "proc", flags=_QUIET)
    else:
        overlay.bind_inside(root_fd, "/proc", "proc", writable=True)
    for path in read_only:
        _cover(root_fd, path, "/proc/self/fd/{target}")
    for path in masked_files:
        _cover(root_fd, path, "/dev/null")
    for path in masked_directories:
        if (target := overlay.open_inside(root_fd, path)) is not None:
            os.close(target)
            overlay.mount_inside(
                root_fd,
                path,
                "tmpfs",
                flags=_QUIET | syscalls.MS_RDONLY,
                options="size=4k,nr_inodes=1,mode=0555",
            )


def show_texts(root_fd: int, path: str, texts: tuple[tuple[str, str], ...]) -> None:
    """Cover a directory of /proc with one that has these files alone, by name, for reading. Passed over where there is none."""
    covered = overlay.open_inside(root_fd, path)
    if covered is None:
        return
    os.close(covered)
    overlay.mount_inside(root_fd, path, "tmpfs", flags=_QUIET, options="size=64k,nr_inodes=16,mode=0555")
    directory = overlay.open_inside(root_fd, path)
    if directory is None:
        raise FileNotFoundError(f"{path} of the container is gone")
    try:
        for name, text in texts:
            with overlay.target_inside(directory, name, directory=False) as target:
                fd = os.open(f"/proc/self/fd/{target}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
        syscalls.set_mount_flags(directory, syscalls.MOUNT_ATTR_RDONLY)
    finally:
        os.close(directory)


def _cover(root_fd: int, path: str, source: str) -> None:
    """Mount `source` read-only over `path`; {target} in it is the path's own descriptor."""
    target = overlay.open_inside(root_fd, path)
    if target is None:
        return
    tree = -1
    try:
        tree = syscalls.clone_tree(source.format(target=target))
        syscalls.set_mount_flags(tree, _READ_ONLY, propagation=syscalls.MS_PRIVATE)
        syscalls.attach_tree(tree, target)
    finally:
        os.close(target)
        if tree >= 0:
            os.close(tree)
