"""The devices of a container: the harmless ones, those of its GPUs, terminals and shared memory of its own."""

import os
import stat

from squall.model.gpu_device import DeviceNode
from squall.runtime import overlay, syscalls

# name: (major, minor)
_NODES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_FUSE = (10, 229)
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def mount_devices(
    root_fd: int,
    *,
    make_nodes: bool,
    shared_memory_bytes: int,
    terminals: int,
    gpus: tuple[DeviceNode, ...] = (),
) -> None:
    """Fill /dev of the root, with the nodes of its `gpus`. make_nodes: make them, as only root can; else show the host's."""
    quiet = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    overlay.mount_inside(root_fd, "dev", "tmpfs", flags=quiet, options="mode=0755,size=256k,nr_inodes=64")
    dev = overlay.open_inside(root_fd, "dev")
    if dev is None:
        raise FileNotFoundError("/dev of the container is gone")
    try:
        add_nodes(dev, make=make_nodes)
        for name, target in _LINKS.items():
            os.symlink(target, name, dir_fd=dev)
        for node in gpus:
            _add_node(dev, node.path.removeprefix("/dev/"), (node.major, node.minor), make=make_nodes)
        for name in ("pts", "shm"):
            os.mkdir(name, 0o755, dir_fd=dev)
        syscalls.set_mount_flags(dev, syscalls.MOUNT_ATTR_RDONLY)
    finally:
        os.close(dev)
    overlay.mount_inside(
        root_fd,
        "dev/pts",
        "devpts",
        flags=quiet,
        options=f"newinstance,ptmxmode=0666,mode=0620,max={terminals}",
    )
    size = f"mode=1777,size={shared_memory_bytes}"
    overlay.mount_inside(
        root_fd, "dev/shm", "tmpfs", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV, options=size
    )


def add_nodes(dev: int, *, make: bool) -> None:
    """Put the harmless devices into the directory `dev`: made anew, as only root can, or the host's own shown there."""
    for name, number in _NODES.items():
        _add_node(dev, name, number, make=make)


def add_served(dev: int) -> None:
    """Put the device into the directory `dev` by which other processes serve file systems."""
    try:
        _add_node(dev, "fuse", _FUSE, make=True)
    except PermissionError:
        # No root: the host's, which everybody may open where it is meant for everybody.
        _add_node(dev, "fuse", _FUSE, make=False)
    else:
        os.chmod("fuse", 0o666, dir_fd=dev)  # noqa: S103 - as every machine has it; each mount needs powers of its own


def _add_node(dev: int, name: str, number: tuple[int, int], *, make: bool) -> None:
    device = os.makedev(*number)
    if make:
        os.mknod(name, stat.S_IFCHR | 0o666, device, dir_fd=dev)
        return
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=dev))
    target = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=dev)
    tree = syscalls.clone_tree(f"/dev/{name}")
    try:
        seen = os.fstat(tree)
        if not stat.S_ISCHR(seen.st_mode) or seen.st_rdev != device:
            raise OSError(f"/dev/{name} of this host is not the device it should be")
        syscalls.set_mount_flags(
            tree, syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC, propagation=syscalls.MS_PRIVATE
        )
        syscalls.attach_tree(tree, target)
    finally:
        os.close(tree)
        os.close(target)
