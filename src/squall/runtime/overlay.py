"""The inside of a container's root: paths that never lead out of it, and what is mounted on them."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from squall.runtime import syscalls
from squall.runtime.spec import Mount

# A target may go through links of the image, as long as they stay inside; never through those of /proc.
_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS


def ways_to(
    lowers: tuple[str, ...], mounts: tuple[Mount, ...], *, owned: tuple[str, ...] = ()
) -> tuple[tuple[str, bool], ...]:
    """The folders (True) and files that have to be made so that each of `mounts` has its place, outer ones first.

    Of a mount that has it in some layer, nothing. A link on the way is left to be followed later, inside the root; and so is
    a way through folders of `owned` layers only, in which the container's root may make what is missing.
    """
    made: dict[str, bool] = {}
    for mount in mounts:
        parts = mount.target.strip("/").split("/")
        ways = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        found = [[lower for lower in lowers if os.path.lexists(f"{lower}/{way}")] for way in ways]
        there = [(way, with_it) for way, with_it in zip(ways, found, strict=True) if with_it]
        links = any(os.path.islink(f"{lower}/{way}") for way, with_it in there for lower in with_it)
        if there and all(with_it[0] in owned for _, with_it in there):
            continue
        if not found[-1] and not links:
            made |= dict.fromkeys(ways[:-1], True)
            made[ways[-1]] = os.path.isdir(mount.source)
    return tuple(sorted(made.items()))


@contextmanager
def target_inside(root_fd: int, path: str, *, directory: bool) -> Iterator[int]:
    """A descriptor of `path` inside the root, made (empty) where it is missing, for mounting on.

    Raises OSError where a file stands in place of a directory, or the other way round.
    """
    fd = _open_or_make(root_fd, path.strip("/"), directory=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def mount_inside(root_fd: int, path: str, kind: str, *, flags: int, options: str = "") -> None:
    """Mount a new file system of `kind` at `path` inside the root."""
    with target_inside(root_fd, path, directory=True) as fd:
        syscalls.mount(kind, f"/proc/self/fd/{fd}", kind, flags, options)


def bind_inside(root_fd: int, source: str, path: str, *, writable: bool, ids: int | None = None) -> None:
    """Show the host's `source` at `path` inside the root, without set-user-id programs and devices. ids: as for `copy_of`."""
    tree = copy_of(source, writable=writable, ids=ids)
    try:
        directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        with target_inside(root_fd, path, directory=directory) as fd:
            syscalls.attach_tree(tree, fd)
    finally:
        os.close(tree)


def copy_of(source: str, *, writable: bool, ids: int | None = None) -> int:
    """A descriptor of a mount of the host's `source` that lies nowhere yet, without set-user-id programs and devices.

    ids: a user namespace; owners of the files show as the ids that it maps theirs to.
    """
    tree = syscalls.clone_tree(source)
    flags = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
    flags |= 0 if writable else syscalls.MOUNT_ATTR_RDONLY
    try:
        syscalls.set_mount_flags(tree, flags, propagation=syscalls.MS_PRIVATE, ids=ids)
    except OSError:
        os.close(tree)
        raise
    return tree


def open_inside(root_fd: int, path: str) -> int | None:
    """A descriptor of `path` inside the root; None where there is nothing."""
    try:
        return syscalls.open_at(root_fd, path.strip("/"), os.O_PATH, resolve=_INSIDE)
    except (FileNotFoundError, NotADirectoryError):
        return None


def append_inside(root_fd: int, path: str, text: str) -> None:
    """Add `text` to the file `path` inside the root; nothing where that is no file, or cannot be written."""
    # An image may have anything there: a pipe must not hold us up.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK
    try:
        fd = syscalls.open_at(root_fd, path.strip("/"), flags, resolve=_INSIDE)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.write(fd, text.encode())
    finally:
        os.close(fd)


def enter_root(root_fd: int, *, detach_old: bool) -> None:
    """Make the root that `root_fd` is the root of this mount namespace and of this process.

    detach_old unmounts what was the root. That waits for the kernel, by the millisecond on an idle machine; without it
    the old root stays below the new one, where only unmounting the new one would uncover it.
    """
    os.fchdir(root_fd)
    if detach_old:
        # The old root is stacked on the new one for a moment; the working directory still is in the old one then.
        syscalls.pivot_root(".", ".")
        syscalls.umount(".", syscalls.MNT_DETACH)
    else:
        syscalls.mount(".", "/", "", syscalls.MS_MOVE)
        os.chroot(".")
    os.chdir("/")


def _open_or_make(root_fd: int, path: str, *, directory: bool) -> int:
    fd = open_inside(root_fd, path)
    if fd is None:
        parent, _, name = path.rpartition("/")
        with target_inside(root_fd, parent or ".", directory=True) as parent_fd:
            if directory:
                os.mkdir(name, 0o755, dir_fd=parent_fd)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent_fd))
        fd = syscalls.open_at(root_fd, path, os.O_PATH, resolve=_INSIDE)
    if stat.S_ISDIR(os.fstat(fd).st_mode) != directory:
        os.close(fd)
        wanted = "a directory" if directory else "a file"
        raise NotADirectoryError(f"the image has something else than {wanted} at /{path}")
    return fd
